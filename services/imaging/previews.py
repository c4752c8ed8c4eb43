"""Makes previews: small pictures of mammograms for pages."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PREVIEW_SIDE = 1100
"""Longer side of a preview, in pixels."""
_QUALITY = 85

Grey = NDArray[np.uint8] | NDArray[np.uint16]


def encode_preview(picture: Image.Image) -> bytes:
    """Encode a grey picture of 8 bits as the preview of a mammogram, a JPEG."""
    small = picture.copy()
    small.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def reduced(grey: Grey) -> Grey:
    """Shrink H x W pixels by a whole factor, to at least twice the side of a preview: the means of square blocks. It
    makes the later steps of a preview cheap. Rows and columns that fill no block are left out."""
    factor = max(grey.shape) // (2 * PREVIEW_SIDE)
    if factor < 2 or min(grey.shape) < factor:
        return grey
    height, width = (side - side % factor for side in grey.shape)
    total = np.full((height // factor, width // factor), factor * factor // 2, dtype=np.uint32)
    for row in range(factor):
        for column in range(factor):
            total += grey[row:height:factor, column:width:factor]
    means = total // (factor * factor)
    return np.asarray(means, dtype=np.uint8) if grey.dtype == np.uint8 else np.asarray(means, dtype=np.uint16)
