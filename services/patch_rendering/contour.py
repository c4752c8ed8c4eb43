"""The contour: the patch as it is, with a line around what the overlay keeps."""

import numpy as np
from numpy.typing import NDArray

LINE = (255, 209, 0)
"""A yellow that no grey patch has."""


def contour(pixels: NDArray[np.uint8], keep: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """(n, size, size, 3) pictures: grey (n, size, size) patches, and a line of two pixels where `keep` begins: on both
    sides of each change along a row or a column. The border of the patch is no change."""
    pictures = np.empty((*pixels.shape, 3), np.uint8)
    for grey, line, picture in zip(pixels, edges(keep), pictures, strict=True):
        for channel in range(3):
            picture[..., channel] = grey
        picture.reshape(-1, 3)[np.flatnonzero(line)] = LINE
    return pictures


def edges(keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of (n, height, width) masks that have a neighbour of the other kind above, below, left or right."""
    found = np.zeros_like(keep)
    down, across = keep[:, 1:] != keep[:, :-1], keep[:, :, 1:] != keep[:, :, :-1]
    found[:, 1:] |= down
    found[:, :-1] |= down
    found[:, :, 1:] |= across
    found[:, :, :-1] |= across
    return found
