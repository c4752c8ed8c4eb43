"""Shrinks grey images by a whole factor, cheaply, before slower steps that need no more detail."""

import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8] | NDArray[np.uint16]


def block_means(grey: Grey, factor: int) -> Grey:
    """The rounded means of square blocks of `factor` x `factor` pixels of an H x W image, in its own type. Rows and
    columns that fill no block are left out; an image without a whole block, or a factor of 1, is returned as it is."""
    if factor < 2 or min(grey.shape) < factor:
        return grey
    height, width = (side - side % factor for side in grey.shape)
    total = np.full((height // factor, width // factor), factor * factor // 2, dtype=np.uint32)
    for row in range(factor):
        for column in range(factor):
            total += grey[row:height:factor, column:width:factor]
    means = total // (factor * factor)
    return np.asarray(means, dtype=np.uint8) if grey.dtype == np.uint8 else np.asarray(means, dtype=np.uint16)
