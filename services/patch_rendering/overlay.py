"""The original's picture of a unit on a patch: the region that activates the unit is unchanged, the rest is dimmed.

As in the original (ddsm-visual-primitives, generate_unitsegments), the map is divided by the maximum of the rank-1 map
and resized with PIL's bilinear filter. Where it is above 0.2, the patch is unchanged; elsewhere it is multiplied by 0.2
and truncated to integer grey values.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from services.imaging.resizing import bilinear_matrix

THRESHOLD = np.float32(0.2)
LEAST_KEPT = (np.float64(THRESHOLD) + np.float64(np.nextafter(THRESHOLD, np.float32(1)))) / 2
"""The smallest float64 that is above the threshold after rounding to float32: the middle between the threshold and the
next float32, which rounds up because the threshold's last bit is odd. Sums in float64 need no rounding before they are
compared with it."""

DIMMED: NDArray[np.uint8] = (np.arange(256, dtype=np.float32) * np.float32(0.2)).astype(np.uint8)
"""Every grey value times 0.2, in float32 as in the original, truncated and not rounded: an integer division by 5."""


def overlay(pixels: NDArray[np.uint8], maps: NDArray[np.float16], best: float) -> NDArray[np.uint8]:
    """Draw the pictures of one unit from (n, size, size) grey patches and the unit's (n, height, width) maps.

    `best` is the maximum of the rank-1 map. ValueError if it is not positive, since the division would be meaningless.
    """
    if not best > 0:
        raise ValueError(f"the best activation is {best}; a unit that is never active has no picture")
    return dim_below(pixels, maps.astype(np.float32) / np.float32(best))


def dim_below(pixels: NDArray[np.uint8], shares: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Dim (n, size, size) grey patches where the (n, height, width) shares of the best activation are not above the
    threshold. It draws one picture at a time, so that its data stay in the processor's cache."""
    pictures = np.empty_like(pixels)
    for grey, picture, resized in zip(pixels, pictures, resized_one_by_one(shares, pixels.shape[-1]), strict=True):
        keep = (resized >= LEAST_KEPT).view(np.uint8)
        np.floor_divide(grey, 5, out=picture)
        # Restore the differing bits where the patch is unchanged: this is several times faster than np.where.
        keep *= np.uint8(255)
        keep &= grey ^ picture
        np.bitwise_xor(picture, keep, out=picture)
    return pictures


def above_threshold(shares: NDArray[np.float32], size: int) -> NDArray[np.bool_]:
    """Return a (n, size, size) mask of the pixels that the overlay does not dim."""
    keep = np.empty((len(shares), size, size), np.bool_)
    for mask, resized in zip(keep, resized_one_by_one(shares, size), strict=True):
        np.greater_equal(resized, LEAST_KEPT, out=mask)
    return keep


def resize_maps(maps: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Resize (n, height, width) maps to (n, size, size) as PIL does: bilinear passes along rows and then along columns,
    each summed in float64 and rounded to float32."""
    return np.stack([resized.astype(np.float32) for resized in resized_one_by_one(maps, size)])


def resized_one_by_one(maps: NDArray[np.float32], size: int) -> Iterator[NDArray[np.float64]]:
    """Yield the maps of `resize_maps` one by one, before the last rounding. All of them use the same memory, which the
    caller may overwrite."""
    across, down = bilinear_matrix(maps.shape[2], size), bilinear_matrix(maps.shape[1], size)
    rows = (maps.astype(np.float64) @ across.T).astype(np.float32).astype(np.float64)
    resized = np.empty((size, size))
    for row in rows:
        yield np.matmul(down, row, out=resized)
