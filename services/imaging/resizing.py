"""Bilinear resizing as PIL does it, as products with matrices."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=64)
def bilinear_matrix(source: int, target: int) -> NDArray[np.float64]:
    """The (target, source) weights of PIL's bilinear filter: a triangle around each target pixel's centre, widened by
    the scale where it shrinks, cut at the border and normalised."""
    scale = source / target
    reach = max(scale, 1.0)
    centres = (np.arange(target) + 0.5) * scale
    first = np.maximum((centres - reach + 0.5).astype(int), 0)
    last = np.minimum((centres + reach + 0.5).astype(int), source)
    columns = np.arange(source)
    weights = np.maximum(0.0, 1.0 - np.abs((columns - centres[:, None] + 0.5) / reach))
    weights *= (columns >= first[:, None]) & (columns < last[:, None])
    matrix: NDArray[np.float64] = weights / weights.sum(1, keepdims=True)
    return matrix
