"""Tails of the binomial and of the chi-squared distribution."""

import math

import numpy as np

from services.annotation.agreement.ratings import Floats


def binomial_probabilities(trials: int, chance: float) -> Floats:
    """Return the probability of 0 to `trials` successes."""
    successes = np.arange(trials + 1, dtype=np.float64)
    if chance <= 0 or chance >= 1:
        return np.asarray(successes == (trials if chance >= 1 else 0), dtype=np.float64)
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, trials + 1, dtype=np.float64)))])
    ways = factorials[-1] - factorials - factorials[::-1]
    return np.asarray(np.exp(ways + successes * math.log(chance) + successes[::-1] * math.log1p(-chance)))


def at_least(successes: int, trials: int, chance: float) -> float:
    """Return the probability of `successes` or more."""
    return min(1.0, float(binomial_probabilities(trials, chance)[successes:].sum()))


def at_most(successes: int, trials: int, chance: float) -> float:
    """Return the probability of `successes` or fewer."""
    return min(1.0, float(binomial_probabilities(trials, chance)[: successes + 1].sum()))


def chi_squared_tail(statistic: float, degrees: int) -> float:
    """Return the probability of a larger value. For whole degrees of freedom it is a finite sum."""
    half = statistic / 2
    if half <= 0:
        return 1.0
    odd = degrees % 2
    powers = [step + odd / 2 for step in range(degrees // 2)]
    terms = (math.exp(power * math.log(half) - half - math.lgamma(power + 1)) for power in powers)
    return (math.erfc(math.sqrt(half)) if odd else 0.0) + sum(terms)
