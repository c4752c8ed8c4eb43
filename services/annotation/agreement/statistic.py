"""A statistic as a function of sums over units, so that resampling units only needs new sums."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from services.annotation.agreement.ratings import Floats, Ratings

TINY = 1e-12
"""A denominator up to this is 0 apart from rounding, and the statistic is undefined."""

NO_PAIRS = "no unit was read by two readers"
ONE_CATEGORY = "all readings that can be compared are of one category, so agreement by chance is complete"


OfSums = Callable[[Floats], Floats]


@dataclass(frozen=True, eq=False)
class Statistic:
    """A statistic of some ratings.

    `terms` has one row a unit. `of_sums` maps sums of rows, of shape (..., terms), to values of shape (...), NaN where
    the statistic is undefined. A bootstrap sample, a jackknife sample and all units differ only in these sums.
    """

    name: str
    terms: Floats
    of_sums: OfSums

    def value(self) -> float:
        """Return the value over all units; NaN if it is undefined."""
        return float(self.of_sums(self.terms.sum(axis=0)))


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Return a quotient, NaN where the denominator is 0."""
    defined = np.abs(denominator) > TINY
    safe = np.where(defined, denominator, 1.0)
    return np.where(defined, numerator / safe, np.nan)


def chance_corrected(observed: Floats, expected: Floats) -> Floats:
    """Return (observed - expected) / (1 - expected)."""
    return ratio(observed - expected, 1 - expected)


def unit_agreement(ratings: Ratings, weight: Floats) -> Floats:
    """Return the mean weight over the pairs of readings of each unit; 0 for units that are not pairable."""
    counts, readings = ratings.counts, ratings.readings
    pairs = readings * (readings - 1)
    agreeing = np.einsum("uc,ck,uk->u", counts, weight, counts, optimize=True) - readings
    return np.where(ratings.pairable, agreeing / np.where(ratings.pairable, pairs, 1.0), 0.0)


def unit_prevalences(ratings: Ratings) -> Floats:
    """Return the share of each category among the readings of each unit; zeros for units that nobody read."""
    return ratings.counts / np.maximum(ratings.readings, 1.0)[:, None]


def pair_terms(ratings: Ratings, weight: Floats) -> Floats:
    """Return the terms of percent agreement, Fleiss' kappa and AC1: agreement, pairable, read, then the prevalences."""
    return np.column_stack(
        [unit_agreement(ratings, weight), ratings.pairable, ratings.readings > 0, unit_prevalences(ratings)]
    )


def observed_and_prevalences(sums: Floats) -> tuple[Floats, Floats]:
    """Return the observed agreement and the prevalences from sums of `pair_terms`.

    Agreement is the mean over pairable units. Prevalences are means over all units that were read.
    """
    return ratio(sums[..., 0], sums[..., 1]), ratio(sums[..., 3:], sums[..., 2:3])


def reason_undefined(ratings: Ratings) -> str:
    """Return why a statistic of these ratings has no value. Only these two cases exist."""
    return ONE_CATEGORY if ratings.pairable.any() else NO_PAIRS
