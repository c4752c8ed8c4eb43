"""Tails of distributions."""

import pytest
from scipy.stats import binom, chi2

from services.annotation.agreement.distributions import at_least, at_most, binomial_probabilities, chi_squared_tail


@pytest.mark.parametrize("chance", [0.0, 1e-6, 0.2, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("trials", [0, 1, 20, 3000])
def test_binomial_probabilities_are_those_of_scipy(trials: int, chance: float) -> None:
    """Also for chances of 0 and 1, and without trials."""
    expected = binom.pmf(range(trials + 1), trials, chance)
    assert binomial_probabilities(trials, chance) == pytest.approx(expected, rel=1e-8, abs=1e-300)


@pytest.mark.parametrize("successes", [0, 3, 10])
def test_binomial_tails_are_those_of_scipy(successes: int) -> None:
    """Both tails contain the number itself."""
    assert at_least(successes, 10, 0.2) == pytest.approx(binom.sf(successes - 1, 10, 0.2), rel=1e-12)
    assert at_most(successes, 10, 0.2) == pytest.approx(binom.cdf(successes, 10, 0.2), rel=1e-12)


@pytest.mark.parametrize("degrees", range(1, 13))
@pytest.mark.parametrize("statistic", [0.0, 0.3, 4.2, 40.0])
def test_chi_squared_tails_are_those_of_scipy(statistic: float, degrees: int) -> None:
    """For even and odd degrees of freedom."""
    assert chi_squared_tail(statistic, degrees) == pytest.approx(chi2.sf(statistic, degrees), rel=1e-10)
