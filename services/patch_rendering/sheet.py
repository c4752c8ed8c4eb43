"""Encoding pictures, and the contact sheet that shows all pictures of a unit at once."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

QUALITY = 85
SHEET_COLUMNS = 8
SHEET_REDUCTION = 2
"""A picture on the sheet has this fraction of its own side."""


def encode_jpeg(picture: NDArray[np.uint8]) -> bytes:
    """A (height, width) grey picture as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def contact_sheet(pictures: NDArray[np.uint8]) -> bytes:
    """(n, size, size) pictures in rows of 8 at half their side, rank 1 in the upper left, as JPEG."""
    count, size, _ = pictures.shape
    rows = -(-count // SHEET_COLUMNS)
    cells = np.zeros((rows * SHEET_COLUMNS, size, size), dtype=np.uint8)
    cells[:count] = pictures
    mosaic = cells.reshape(rows, SHEET_COLUMNS, size, size).swapaxes(1, 2).reshape(rows * size, SHEET_COLUMNS * size)
    buffer = io.BytesIO()
    Image.fromarray(mosaic).reduce(SHEET_REDUCTION).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
