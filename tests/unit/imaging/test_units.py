"""Names and channels of units."""

import pytest

from services.common.errors import InvalidInput
from services.imaging.units import unit_channel, unit_name


@pytest.mark.parametrize(("channel", "name"), [(0, "unit_0001"), (41, "unit_0042"), (12344, "unit_12345")])
def test_a_name_counts_from_1_and_a_channel_from_0(channel: int, name: str) -> None:
    """unit_name and unit_channel are inverse to each other; a bare number is the channel."""
    assert unit_name(channel) == name
    assert unit_channel(name) == unit_channel(str(channel)) == unit_channel(channel) == channel


@pytest.mark.parametrize("text", ["unit_0000", "unit_1", "unit_٠٠٠١", "unit_0001 ", "../unit_0001", "-1", "٣", ""])
def test_text_that_names_no_unit_is_invalid(text: str) -> None:
    """unit_channel raises InvalidInput for text that is neither a name nor a channel."""
    with pytest.raises(InvalidInput, match="names no unit"):
        unit_channel(text)
