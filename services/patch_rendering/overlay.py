"""The original's picture of a unit on a patch: what activates it is kept, the rest is dimmed.

From the original (ddsm-visual-primitives, generate_unitsegments): the map over the maximum of the rank-1 map, resized
bilinearly as PIL does it; above 0.2 the patch is kept, elsewhere it is multiplied by 0.2 and cut to whole grey values.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

THRESHOLD = np.float32(0.2)
DIMMED: NDArray[np.uint8] = (np.arange(256, dtype=np.float32) * np.float32(0.2)).astype(np.uint8)
"""Every grey value times 0.2, in the original's float32 and cut, not rounded."""


def overlay(pixels: NDArray[np.uint8], maps: NDArray[np.float16], best: float) -> NDArray[np.uint8]:
    """Pictures of one unit: (n, size, size) grey patches under the unit's (n, height, width) maps.

    `best` is the maximum of the rank-1 map; it must be positive, or the division would make nonsense of the picture.
    """
    if not best > 0:
        raise ValueError(f"the best activation is {best}; a unit that is never active has no picture")
    keep = resize_maps(maps.astype(np.float32) / np.float32(best), pixels.shape[-1]) > THRESHOLD
    return np.where(keep, pixels, DIMMED[pixels])


def resize_maps(maps: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """(n, height, width) maps at (n, size, size), bilinear: PIL's passes, first along rows and then along columns, each
    summed in float64 and kept in float32."""
    across, down = bilinear_matrix(maps.shape[2], size), bilinear_matrix(maps.shape[1], size)
    rows = (maps.astype(np.float64) @ across.T).astype(np.float32)
    resized: NDArray[np.float32] = (down @ rows.astype(np.float64)).astype(np.float32)
    return resized


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
