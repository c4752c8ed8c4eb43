"""A proportion with its interval, and an exact test against chance."""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

from services.annotation.agreement.bootstrap import NORMAL, Interval
from services.annotation.agreement.distributions import at_least, at_most
from services.common.errors import InvalidInput

NO_TRIALS = "there are no trials"
HALVINGS = 60


@dataclass(frozen=True)
class Proportion:
    """Successes out of trials that are independent of each other; `value` is None without trials."""

    successes: int
    trials: int
    value: float | None
    low: float | None
    high: float | None
    reason: str = ""


def proportion(successes: int, trials: int, level: float = 0.95) -> Proportion:
    """Return a proportion with its Wilson interval."""
    _check(successes, trials)
    if trials == 0:
        return Proportion(0, 0, None, None, None, NO_TRIALS)
    ends = wilson(successes, trials, level)
    return Proportion(successes, trials, successes / trials, ends.low, ends.high)


def wilson(successes: int, trials: int, level: float = 0.95) -> Interval:
    """Return the score interval of Wilson (1927), whose mean coverage is close to the level, also for few trials."""
    _check(successes, trials)
    z = _normal_quantile(level)
    share = successes / trials
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * sqrt(share * (1 - share) / trials + z * z / (4 * trials**2)) / (1 + z * z / trials)
    # Rounding must not leave 0 or 1 outside.
    low = 0.0 if successes == 0 else middle - half
    return Interval(low, 1.0 if successes == trials else middle + half)


def clopper_pearson(successes: int, trials: int, level: float = 0.95) -> Interval:
    """Return the exact interval of Clopper and Pearson (1934), whose coverage is never below the level."""
    _check(successes, trials)
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else _solve(lambda chance: at_least(successes, trials, chance) > tail)
    high = 1.0 if successes == trials else _solve(lambda chance: at_most(successes, trials, chance) <= tail)
    return Interval(low, high)


def p_value_above(successes: int, trials: int, chance: float) -> float:
    """Return the exact binomial probability of `successes` or more by chance."""
    _check(successes, trials)
    if not 0 < chance < 1:
        raise InvalidInput(f"The chance of a success is {chance}; expected a number between 0 and 1")
    return at_least(successes, trials, chance)


def _solve(passed: Callable[[float], bool]) -> float:
    """Return the smallest probability for which a condition that stays true holds."""
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if passed(middle) else (middle, high)
    return (low + high) / 2


def _normal_quantile(level: float) -> float:
    return NORMAL.inv_cdf((1 + level) / 2)


def _check(successes: int, trials: int) -> None:
    if not 0 <= successes <= trials:
        raise InvalidInput(f"There are {successes} successes in {trials} trials; expected 0 to {trials}")
