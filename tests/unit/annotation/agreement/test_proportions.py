"""Proportions."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from services.annotation.agreement.proportions import clopper_pearson, p_value_above, proportion, wilson
from services.common.errors import InvalidInput


@pytest.mark.parametrize(
    ("successes", "trials", "score", "exact"),
    [
        (81, 263, (0.2553, 0.3662), (0.2527, 0.3676)),
        (15, 148, (0.0624, 0.1605), (0.0578, 0.1617)),
        (0, 20, (0.0, 0.1611), (0.0, 0.1684)),
        (1, 29, (0.0061, 0.1718), (0.0009, 0.1776)),
    ],
)
def test_published_intervals(
    successes: int, trials: int, score: tuple[float, float], exact: tuple[float, float]
) -> None:
    """Newcombe 1998, table I: the score interval and the exact one."""
    found = wilson(successes, trials), clopper_pearson(successes, trials)
    assert [(one.low, one.high) for one in found] == [pytest.approx(score, abs=5e-5), pytest.approx(exact, abs=5e-5)]


@settings(deadline=None)
@given(st.integers(1, 300).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials))))
def test_equals_scipy(numbers: tuple[int, int]) -> None:
    """Both intervals at two levels, and the exact p-value."""
    successes, trials = numbers
    theirs = binomtest(successes, trials, 0.2, alternative="greater")
    assert p_value_above(successes, trials, 0.2) == pytest.approx(theirs.pvalue, rel=1e-9)
    both_sides = binomtest(successes, trials)
    for level in (0.9, 0.95):
        for ours, method in ((wilson, "wilson"), (clopper_pearson, "exact")):
            found, expected = ours(successes, trials, level), both_sides.proportion_ci(level, method)
            assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_without_trials() -> None:
    """There is no value, and the reason says so."""
    found = proportion(0, 0)
    assert (found.value, found.low, found.high, found.reason) == (None, None, None, "there are no trials")


def test_wrong_numbers_are_refused() -> None:
    """The error names them."""
    with pytest.raises(InvalidInput, match="3 successes in 2 trials"):
        proportion(3, 2)
    with pytest.raises(InvalidInput, match="chance of a success is 1"):
        p_value_above(1, 2, 1.0)
