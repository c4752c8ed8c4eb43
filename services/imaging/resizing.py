"""PIL's bilinear resizing, as matrix products."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=64)
def bilinear_matrix(source: int, target: int) -> NDArray[np.float64]:
    """Return the (target, source) weights of PIL's bilinear filter: a triangle around each target pixel's centre,
    widened by the scale when the image shrinks, cut at the border and normalised."""
    scale = source / target
    radius = max(scale, 1.0)
    centres = (np.arange(target) + 0.5) * scale
    first = np.maximum((centres - radius + 0.5).astype(int), 0)
    last = np.minimum((centres + radius + 0.5).astype(int), source)
    columns = np.arange(source)
    weights = np.maximum(0.0, 1.0 - np.abs((columns - centres[:, None] + 0.5) / radius))
    weights *= (columns >= first[:, None]) & (columns < last[:, None])
    matrix: NDArray[np.float64] = weights / weights.sum(1, keepdims=True)
    return matrix


FRACTION_BITS = 22
"""Fraction bits of PIL's weights for 8-bit pixels. The weights are integers, so their sums are exact on any device."""


@lru_cache(maxsize=64)
def bilinear_taps(source: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the taps of PIL's bilinear filter for 8-bit pixels, equal to Pillow's Resample.c to the bit.

    The first array (target,) is the first source pixel of each target pixel. The second array (target, taps) is the
    weights from that pixel on, in units of 2 ** -FRACTION_BITS, and 0 beyond the border.
    """
    scale = source / target
    radius = max(scale, 1.0)
    centres = (np.arange(target) + 0.5) * scale
    first = np.maximum((centres - radius + 0.5).astype(np.int64), 0)
    last = np.minimum((centres + radius + 0.5).astype(np.int64), source)
    columns = first[:, None] + np.arange((last - first).max())
    weights = np.maximum(0.0, 1.0 - np.abs((columns - centres[:, None] + 0.5) * (1.0 / radius)))
    weights[columns >= last[:, None]] = 0.0
    weights /= weights.cumsum(1)[:, -1:]  # added from first to last, as PIL does
    return first, (weights * (1 << FRACTION_BITS) + 0.5).astype(np.int32)
