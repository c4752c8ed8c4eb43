"""The correlations of the maxima of a layer's units over the patches of a split."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.activation_extraction.matrices import Matrices

NEAR_DUPLICATE = 0.95
"""The lowest correlation of two units that are near-duplicates."""
SIMILAR = 10
"""Similar units that are recorded for each unit."""


@dataclass(frozen=True)
class Similarity:
    """The units that are most similar to a unit, by falling correlation, and the lowest unit of which it is a
    near-duplicate."""

    units: list[int]
    correlations: list[float]
    duplicate_of: int | None


def correlate(matrices: Matrices) -> NDArray[np.float64]:
    """The (units, units) Pearson correlations of the columns. A unit without variation has correlation 0 with all."""
    total = np.zeros(matrices.units)
    for block in matrices.blocks():
        total += block.sum(0, dtype=np.float64)
    means = total / len(matrices.ids)
    products = np.zeros((matrices.units, matrices.units))
    for block in matrices.blocks():
        centred = block - means
        products += centred.T @ centred
    deviations = np.sqrt(products.diagonal())
    # The deviation of a unit without variation is not zero, because its mean is rounded.
    varies = deviations > 1e-9 * np.abs(means) * np.sqrt(len(matrices.ids))
    scale = np.where(varies, deviations, np.inf)
    return (products / scale[:, None] / scale).clip(-1, 1)


def similarities(correlation: NDArray[np.float64]) -> list[Similarity]:
    """The similarity of every unit to the others. It lists the SIMILAR units with the largest positive correlations,
    the lower unit first if two are equal. A unit without variation is similar to no other."""
    found = []
    for unit, row in enumerate(correlation):
        others = np.lexsort((np.arange(len(row)), -row))
        others = others[(others != unit) & (row[others] > 0)][:SIMILAR]
        before = [other for other in near_duplicates(row, unit) if other < unit]
        found.append(Similarity(others.tolist(), row[others].tolist(), before[0] if before else None))
    return found


def near_duplicates(row: NDArray[np.floating], unit: int) -> list[int]:
    """The other units of which a unit is a near-duplicate, from its row of correlations.

    The row is compared in float16, so that stored correlations lead to the same result.
    """
    found = np.flatnonzero(row.astype(np.float16) >= np.float16(NEAR_DUPLICATE))
    return [other for other in found.tolist() if other != unit]
