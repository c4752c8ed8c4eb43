"""How the maxima of a layer's units go together over the patches of a split."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.activation_extraction.matrices import Matrices

NEAR_DUPLICATE = 0.95
"""Correlation from which on two units are called near-duplicates."""
SIMILAR = 10
"""Similar units that are told of each."""


@dataclass(frozen=True)
class Similarity:
    """What is told of a unit beside others: `units` by falling correlation, and the lowest unit that it repeats."""

    units: list[int]
    correlations: list[float]
    duplicate_of: int | None


def correlate(matrices: Matrices) -> NDArray[np.float64]:
    """The (units, units) Pearson correlations of the columns; a unit that is the same everywhere has 0 with all."""
    total = np.zeros(matrices.units)
    for block in matrices.blocks():
        total += block.sum(0, dtype=np.float64)
    means = total / len(matrices.ids)
    products = np.zeros((matrices.units, matrices.units))
    for block in matrices.blocks():
        centred = block - means
        products += centred.T @ centred
    deviations = np.sqrt(products.diagonal())
    # What is left of a unit that never changes is rounding of its mean.
    varies = deviations > 1e-9 * np.abs(means) * np.sqrt(len(matrices.ids))
    scale = np.where(varies, deviations, np.inf)
    return (products / scale[:, None] / scale).clip(-1, 1)


def similarities(correlation: NDArray[np.float64]) -> list[Similarity]:
    """Of every unit the SIMILAR units that go most with it, of equal ones the lower, and whether it is a near-duplicate
    of one before it. A unit without variation is like no other."""
    found = []
    for unit, row in enumerate(correlation):
        others = np.lexsort((np.arange(len(row)), -row))
        others = others[(others != unit) & (row[others] > 0)][:SIMILAR]
        before = [other for other in near_duplicates(row, unit) if other < unit]
        found.append(Similarity(others.tolist(), row[others].tolist(), before[0] if before else None))
    return found


def near_duplicates(row: NDArray[np.floating], unit: int) -> list[int]:
    """The other units of which a unit is a near-duplicate, by its row of correlations: in float16, as they are stored,
    so that the stored ones say the same."""
    found = np.flatnonzero(row.astype(np.float16) >= np.float16(NEAR_DUPLICATE))
    return [other for other in found.tolist() if other != unit]
