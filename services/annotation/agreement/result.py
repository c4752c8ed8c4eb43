"""The result of a statistic: its value and interval, on how much it rests, and why something is missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

from services.annotation.agreement.bootstrap import Interval, Resampling, bootstrap_intervals
from services.annotation.agreement.ratings import Ratings
from services.annotation.agreement.statistic import Statistic, reason_undefined


@dataclass(frozen=True)
class Agreement:
    """A statistic with its interval. `value` is None if it is undefined; `low` and `high` if there is no interval.

    `reason` says why something is None, and is empty otherwise.
    """

    statistic: str
    value: float | None
    low: float | None
    high: float | None
    units: int
    """Units with two readings or more."""
    readers: int
    """Readers of these units."""
    pairs: int
    """Pairs of readings of the same unit."""
    reason: str = ""


def agreements(
    ratings: Ratings, statistics: Sequence[Statistic], resampling: Resampling | None
) -> tuple[Agreement, ...]:
    """Return the result of each statistic of some ratings, without intervals if there is no resampling."""
    ends = intervals(statistics, resampling)
    return tuple(agreement(ratings, *pair) for pair in zip(statistics, ends, strict=True))


def intervals(statistics: Sequence[Statistic], resampling: Resampling | None) -> list[Interval]:
    """Return the interval of each statistic; empty ones if there is no resampling."""
    return [Interval()] * len(statistics) if resampling is None else bootstrap_intervals(statistics, resampling)


def agreement(ratings: Ratings, statistic: Statistic, interval: Interval) -> Agreement:
    """Return the result of one statistic with its interval."""
    value = statistic.value()
    undefined = isnan(value)
    return Agreement(
        statistic=statistic.name,
        value=None if undefined else value,
        low=interval.low,
        high=interval.high,
        units=int(ratings.pairable.sum()),
        readers=ratings.used_readers,
        pairs=ratings.pairs,
        reason=reason_undefined(ratings) if undefined else interval.reason,
    )
