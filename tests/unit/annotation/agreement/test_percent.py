"""Percent agreement."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.annotation.agreement.percent import percent_agreement
from tests.unit.annotation.agreement import slow
from tests.unit.annotation.agreement.compare import same
from tests.unit.annotation.agreement.published import ABSTRACTORS, FIVE_OBSERVERS, KRIPPENDORFF
from tests.unit.annotation.agreement.tables import random_ratings


def test_published_values() -> None:
    """Gwet's package prints these."""
    assert percent_agreement(KRIPPENDORFF).value() == pytest.approx(0.8181818, abs=1e-6)
    assert percent_agreement(ABSTRACTORS).value() == pytest.approx(0.89, abs=1e-6)
    assert round(percent_agreement(FIVE_OBSERVERS).value(), 3) == 0.616


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_equals_the_definition(seed: int) -> None:
    """On random tables with missing readings."""
    ratings = random_ratings(seed)
    assert same(percent_agreement(ratings), slow.percent(ratings))
