"""The contour: the unchanged patch, with a line around the region that the overlay does not dim."""

import numpy as np
from numpy.typing import NDArray

LINE = (255, 209, 0)
"""Yellow, which no grey patch contains."""


def contour(pixels: NDArray[np.uint8], keep: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Draw (n, size, size, 3) pictures: grey (n, size, size) patches with a line around the region `keep`. The line is
    two pixels wide, one on each side of the region's edge. The border of the patch is not an edge."""
    pictures = np.empty((*pixels.shape, 3), np.uint8)
    for grey, line, picture in zip(pixels, edges(keep), pictures, strict=True):
        for channel in range(3):
            picture[..., channel] = grey
        picture.reshape(-1, 3)[np.flatnonzero(line)] = LINE
    return pictures


def edges(keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of (n, height, width) masks with a neighbour of the other value above, below, left or right."""
    found = np.zeros_like(keep)
    down, across = keep[:, 1:] != keep[:, :-1], keep[:, :, 1:] != keep[:, :, :-1]
    found[:, 1:] |= down
    found[:, :-1] |= down
    found[:, :, 1:] |= across
    found[:, :, :-1] |= across
    return found
