"""SplitMix64."""

import numpy as np
import pytest

from services.annotation.agreement.splitmix import numbers_below, outputs
from services.common.errors import InvalidInput
from tests.unit.annotation.agreement.slow import splitmix


def test_published_outputs() -> None:
    """The first outputs of seed 1234567, as implementations in many languages print them."""
    assert outputs(1234567, 0, 5).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


@pytest.mark.parametrize("seed", [0, 1, 2**63, 2**64 - 1])
def test_equals_whole_numbers_of_python(seed: int) -> None:
    """Also for the largest seed, and from any output on."""
    assert outputs(seed, 7, 50).tolist() == [splitmix(seed, 7 + place) for place in range(50)]


def test_numbers_are_uniform() -> None:
    """Each of 10 numbers occurs in a tenth of 100,000 draws, within 5 standard deviations."""
    counts = np.bincount(numbers_below(10, 3, 0, 100_000), minlength=10)
    assert np.abs(counts - 10_000).max() < 5 * 95
    assert counts.sum() == 100_000


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_wrong_seed_is_refused(seed: int) -> None:
    """The error names the seed."""
    with pytest.raises(InvalidInput, match=f"The seed is {seed}"):
        outputs(seed, 0, 1)
