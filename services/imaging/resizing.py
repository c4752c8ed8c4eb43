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


FRACTION_BITS = 22
"""Of PIL's weights of 8-bit pixels, which are whole numbers: sums of them are exact, wherever they are computed."""


@lru_cache(maxsize=64)
def bilinear_taps(source: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """What PIL's bilinear filter of 8-bit pixels sums up: (target,) first source pixels, and (target, taps) weights of
    those from there on, in units of 2 ** -FRACTION_BITS; 0 beyond the border. From Pillow's Resample.c, to the bit."""
    scale = source / target
    reach = max(scale, 1.0)
    centres = (np.arange(target) + 0.5) * scale
    first = np.maximum((centres - reach + 0.5).astype(np.int64), 0)
    last = np.minimum((centres + reach + 0.5).astype(np.int64), source)
    columns = first[:, None] + np.arange((last - first).max())
    weights = np.maximum(0.0, 1.0 - np.abs((columns - centres[:, None] + 0.5) * (1.0 / reach)))
    weights[columns >= last[:, None]] = 0.0
    weights /= weights.cumsum(1)[:, -1:]  # from the first to the last, as PIL adds them
    return first, (weights * (1 << FRACTION_BITS) + 0.5).astype(np.int32)
