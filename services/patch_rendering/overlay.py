"""The original's picture of a unit on a patch: what activates it is kept, the rest is dimmed.

From the original (ddsm-visual-primitives, generate_unitsegments): the map over the maximum of the rank-1 map, resized
bilinearly as PIL does it; above 0.2 the patch is kept, elsewhere it is multiplied by 0.2 and cut to whole grey values.
"""

import numpy as np
from numpy.typing import NDArray

from services.imaging.resizing import bilinear_matrix

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
