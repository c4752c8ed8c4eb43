"""Krippendorff's alpha for nominal, ordinal and interval data."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from services.annotation.agreement.ratings import Floats, Ratings
from services.annotation.agreement.statistic import OfSums, Statistic, ratio
from services.common.errors import InvalidInput

Level = Literal["nominal", "ordinal", "interval"]

NAMES: dict[Level, str] = {
    "nominal": "krippendorff_alpha",
    "ordinal": "krippendorff_alpha_ordinal",
    "interval": "krippendorff_alpha_interval",
}


def krippendorff_alpha(ratings: Ratings, level: Level = "nominal", values: ArrayLike | None = None) -> Statistic:
    """Krippendorff's alpha (2011), from the units with two readings or more.

    `values` are the values of the categories at interval level; by default 0, 1, 2 and so on.
    """
    if values is not None and np.shape(values) != (ratings.categories,):
        raise InvalidInput(
            f"Krippendorff's alpha got values of shape {np.shape(values)}; expected {ratings.categories}"
        )
    counts = np.where(ratings.pairable[:, None], ratings.counts, 0.0)
    used = np.flatnonzero(counts.sum(axis=0))
    counts = counts[:, used]
    if level == "ordinal":
        return Statistic(NAMES[level], *_ordinal(counts, ratings.readings))
    scale = np.arange(ratings.categories) if values is None else np.asarray(values, dtype=np.float64)
    chosen = scale[used].astype(np.float64)
    difference = (chosen[:, None] - chosen) ** 2 if level == "interval" else 1 - np.eye(len(used))
    return Statistic(NAMES[level], *_fixed(counts, ratings.readings, difference))


def _others(readings: Floats) -> Floats:
    """Return the number of other readers of the unit of a reading; 1 where there are none, whose counts are 0."""
    return np.maximum(readings - 1, 1.0)


def _fixed(counts: Floats, readings: Floats, difference: Floats) -> tuple[Floats, OfSums]:
    """Return the terms of a difference that does not depend on the data: disagreement of each unit, then its counts."""
    disagreement = np.einsum("uc,ck,uk->u", counts, difference, counts, optimize=True) / _others(readings)

    def of_sums(sums: Floats) -> Floats:
        totals = sums[..., 1:]
        expected = np.einsum("...c,ck,...k->...", totals, difference, totals, optimize=True)
        return _alpha(sums[..., 0], expected, totals)

    return np.column_stack([disagreement, counts]), of_sums


def _ordinal(counts: Floats, readings: Floats) -> tuple[Floats, OfSums]:
    """Return the terms of the ordinal difference, which depends on all counts: coincidences of each pair of categories,
    then the counts."""
    lower, upper = np.triu_indices(counts.shape[1], k=1)
    coincidences = 2 * counts[:, lower] * counts[:, upper] / _others(readings)[:, None]

    def of_sums(sums: Floats) -> Floats:
        observed, totals = sums[..., : len(lower)], sums[..., len(lower) :]
        ranks = np.cumsum(totals, axis=-1) - totals / 2
        difference = (ranks[..., upper] - ranks[..., lower]) ** 2
        expected = 2 * (totals[..., lower] * totals[..., upper] * difference).sum(axis=-1)
        return _alpha((observed * difference).sum(axis=-1), expected, totals)

    return np.column_stack([coincidences, counts]), of_sums


def _alpha(observed: Floats, expected: Floats, totals: Floats) -> Floats:
    return 1 - ratio((totals.sum(axis=-1) - 1) * observed, expected)
