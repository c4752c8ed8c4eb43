"""Bootstrap intervals over units.

A replicate draws units with replacement, as often as there are units. Draw i of replicate b is number b * units + i of
SplitMix64. The replicate is a row of counts, one for each unit. Counts times terms are the sums that a statistic needs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from services.annotation.agreement.ratings import Floats
from services.annotation.agreement.splitmix import numbers_below
from services.annotation.agreement.statistic import Statistic
from services.common.errors import InvalidInput

DRAWS_AT_ONCE = 1 << 21
"""Draws of one block of replicates, so that memory does not grow with their number."""

MOST_UNDEFINED = 0.05
"""The largest share of replicates without a value with which there still is an interval."""

NORMAL = NormalDist()


@dataclass(frozen=True)
class Resampling:
    """What determines an interval. The same seed and number of replicates give the same interval."""

    seed: int
    replicates: int = 2000
    level: float = 0.95
    method: Literal["percentile", "bca"] = "bca"

    def __post_init__(self) -> None:
        if self.replicates < 1:
            raise InvalidInput(f"The bootstrap has {self.replicates} replicates; expected at least 1")
        if not 0 < self.level < 1:
            raise InvalidInput(f"The level of the interval is {self.level}; expected a number between 0 and 1")


@dataclass(frozen=True)
class Interval:
    """The ends of an interval, or none with the reason."""

    low: float | None = None
    high: float | None = None
    reason: str = ""


def bootstrap_intervals(statistics: Sequence[Statistic], resampling: Resampling) -> list[Interval]:
    """Return an interval for each statistic. All have the same units, and see the same resamples."""
    values = replicates(statistics, resampling)
    return [interval(statistic, row, resampling) for statistic, row in zip(statistics, values, strict=True)]


def replicates(statistics: Sequence[Statistic], resampling: Resampling) -> Floats:
    """Return the value of each statistic in each replicate: (statistics, replicates), NaN where it is undefined."""
    if not statistics:
        return np.empty((0, resampling.replicates))
    units = {len(statistic.terms) for statistic in statistics}
    if len(units) != 1:
        raise InvalidInput(f"The statistics of one bootstrap have {sorted(units)} units; expected the same number")
    blocks = [
        np.array([statistic.of_sums(counts @ statistic.terms) for statistic in statistics])
        for counts in resample_counts(units.pop(), resampling)
    ]
    return np.concatenate(blocks, axis=1)


def resample_counts(units: int, resampling: Resampling) -> Iterator[Floats]:
    """Yield blocks of (replicates, units): how often each replicate contains each unit."""
    block = max(1, DRAWS_AT_ONCE // max(1, units))
    for first in range(0, resampling.replicates, block):
        rows = min(block, resampling.replicates - first)
        drawn = numbers_below(units, resampling.seed, first * units, rows * units)
        places = drawn + np.repeat(np.arange(rows) * units, units)
        yield np.bincount(places, minlength=rows * units).reshape(rows, units).astype(np.float64)


def interval(statistic: Statistic, values: Floats, resampling: Resampling) -> Interval:
    """Return the interval of a statistic from its values in all replicates."""
    value = statistic.value()
    if np.isnan(value):
        return Interval(reason="the statistic is undefined")
    defined = values[~np.isnan(values)]
    if len(defined) < (1 - MOST_UNDEFINED) * len(values):
        return Interval(reason=f"the statistic is undefined in {len(values) - len(defined)} of {len(values)} resamples")
    if np.ptp(np.append(defined, value)) < 1e-12:
        return Interval(reason="all resamples have the same value, so they show no uncertainty")
    tail = (1 - resampling.level) / 2
    tails = (tail, 1 - tail)
    if resampling.method == "bca":
        tails = bca_tails(value, defined, jackknife(statistic), tails)
    low, high = np.quantile(defined, tails)
    return Interval(float(low), float(high))


def jackknife(statistic: Statistic) -> Floats:
    """Return the value without each unit in turn, where it is defined."""
    values = statistic.of_sums(statistic.terms.sum(axis=0) - statistic.terms)
    return values[~np.isnan(values)]


def bca_tails(value: float, values: Floats, left_out: Floats, tails: tuple[float, float]) -> tuple[float, float]:
    """Return the tails corrected for bias and acceleration (Efron 1987). Replicates equal to the value count half."""
    same = np.abs(values - value) < 1e-12
    below = ((values < value) & ~same).sum() + same.sum() / 2
    share = min(max(float(below) / len(values), 0.5 / len(values)), 1 - 0.5 / len(values))
    bias = NORMAL.inv_cdf(share)
    deviations = left_out.mean() - left_out if len(left_out) else np.zeros(1)
    spread = float((deviations**2).sum())
    acceleration = float((deviations**3).sum()) / (6 * spread**1.5) if spread > 1e-24 else 0.0
    low, high = (_corrected(tail, bias, acceleration) for tail in tails)
    return low, high


def _corrected(tail: float, bias: float, acceleration: float) -> float:
    shifted = bias + NORMAL.inv_cdf(tail)
    # With few units the denominator can pass 0, where the correction has no meaning; it is limited well before.
    return NORMAL.cdf(bias + shifted / max(1 - acceleration * shifted, 0.1))
