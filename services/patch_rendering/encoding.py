"""Encode pictures, and the contact sheet with all pictures of a unit."""

import os
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SHEET_COLUMNS = 8
SHEET_REDUCTION = 2
"""The factor by which a picture's side is reduced on the sheet."""

_OPTIONS: dict[str, dict[str, int]] = {"jpeg": {}, "webp": {"method": 0}}
"""WebP's fastest method still takes eight times as long as JPEG; the next method takes a quarter longer."""


@dataclass(frozen=True)
class Encoding:
    """How pictures are encoded: in a format (jpeg or webp) with a quality from 1 to 100."""

    format: str = "jpeg"
    quality: int = 85

    def encode(self, pictures: Iterable[NDArray[np.uint8]]) -> list[bytes]:
        """Encode (height, width) grey or (height, width, 3) colour pictures."""
        return self._save(map(Image.fromarray, pictures))

    def sheet(self, pictures: NDArray[np.uint8]) -> bytes:
        """Encode a sheet of (n, size, size) or (n, size, size, 3) pictures, in rows of 8 at half their side, from the
        upper left."""
        count, size = pictures.shape[:2]
        colours = pictures.shape[3:]
        rows = -(-count // SHEET_COLUMNS)
        cells = np.zeros((rows * SHEET_COLUMNS, size, size, *colours), dtype=np.uint8)
        cells[:count] = pictures
        grid = cells.reshape(rows, SHEET_COLUMNS, size, size, *colours).swapaxes(1, 2)
        mosaic = grid.reshape(rows * size, SHEET_COLUMNS * size, *colours)
        return self._save([Image.fromarray(mosaic).reduce(SHEET_REDUCTION)])[0]

    def _save(self, images: Iterable[Image.Image]) -> list[bytes]:
        ends = [0]
        with _file_in_memory() as file:
            for image in images:
                image.save(file, self.format.upper(), quality=self.quality, **_OPTIONS[self.format])
                ends.append(file.tell())
            file.seek(0)
            content = file.read(ends[-1])
        return [content[begin:end] for begin, end in pairwise(ends)]


def _file_in_memory() -> IO[bytes]:
    """Open a file of the operating system. PIL lets other threads run only while it encodes into such a file."""
    if sys.platform == "linux":
        return os.fdopen(os.memfd_create("picture"), "w+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)
