"""The original's picture of a unit on a patch: what activates it is kept, the rest is dimmed.

From the original (ddsm-visual-primitives, generate_unitsegments): the map over the maximum of the rank-1 map, resized
bilinearly as PIL does it; above 0.2 the patch is kept, elsewhere it is multiplied by 0.2 and cut to whole grey values.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from services.imaging.resizing import bilinear_matrix

THRESHOLD = np.float32(0.2)
LEAST_KEPT = (np.float64(THRESHOLD) + np.float64(np.nextafter(THRESHOLD, np.float32(1)))) / 2
"""The least value that is above the threshold once it is rounded to float32: the middle between the threshold and the
next number, which rounds up since the threshold is odd in its last bit. So a sum in float64 need not be rounded."""

DIMMED: NDArray[np.uint8] = (np.arange(256, dtype=np.float32) * np.float32(0.2)).astype(np.uint8)
"""Every grey value times 0.2, in the original's float32 and cut, not rounded: a whole division by 5."""


def overlay(pixels: NDArray[np.uint8], maps: NDArray[np.float16], best: float) -> NDArray[np.uint8]:
    """Pictures of one unit: (n, size, size) grey patches under the unit's (n, height, width) maps.

    `best` is the maximum of the rank-1 map; it must be positive, or the division would make nonsense of the picture.
    """
    if not best > 0:
        raise ValueError(f"the best activation is {best}; a unit that is never active has no picture")
    return dim_below(pixels, maps.astype(np.float32) / np.float32(best))


def dim_below(pixels: NDArray[np.uint8], shares: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(n, size, size) grey patches, dimmed where the (n, height, width) shares of the best activation are not above the
    threshold. One picture at a time: what belongs to it stays in the processor's cache."""
    pictures = np.empty_like(pixels)
    for grey, picture, resized in zip(pixels, pictures, resized_one_by_one(shares, pixels.shape[-1]), strict=True):
        keep = (resized >= LEAST_KEPT).view(np.uint8)
        np.floor_divide(grey, 5, out=picture)
        # Where it is kept the bits that differ are turned back: this is several times faster than np.where.
        keep *= np.uint8(255)
        keep &= grey ^ picture
        np.bitwise_xor(picture, keep, out=picture)
    return pictures


def above_threshold(shares: NDArray[np.float32], size: int) -> NDArray[np.bool_]:
    """The (n, size, size) places that the overlay keeps."""
    keep = np.empty((len(shares), size, size), np.bool_)
    for mask, resized in zip(keep, resized_one_by_one(shares, size), strict=True):
        np.greater_equal(resized, LEAST_KEPT, out=mask)
    return keep


def resize_maps(maps: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """(n, height, width) maps at (n, size, size), bilinear: PIL's passes, first along rows and then along columns, each
    summed in float64 and kept in float32."""
    return np.stack([resized.astype(np.float32) for resized in resized_one_by_one(maps, size)])


def resized_one_by_one(maps: NDArray[np.float32], size: int) -> Iterator[NDArray[np.float64]]:
    """What `resize_maps` gives, one map after the other and not rounded yet: each in the same place as the one before,
    which the caller may write to."""
    across, down = bilinear_matrix(maps.shape[2], size), bilinear_matrix(maps.shape[1], size)
    rows = (maps.astype(np.float64) @ across.T).astype(np.float32).astype(np.float64)
    place = np.empty((size, size))
    for row in rows:
        yield np.matmul(down, row, out=place)
