"""The grey values of patches and mammograms as a data set stores them, with 8 or 16 bits, for readers.

Stored files are never passed on, because they may contain more than pixels: they are decoded, and encoded again.
"""

import gzip
import io
import re
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from PIL import Image

from services.common.blobs import Blobs
from services.common.errors import InvalidInput
from services.common.machine.cache import BoundedCache
from services.common.redaction import quoted
from services.imaging.decode import DEEP, decode_exact

LARGEST_SIDE = 1100
"""Longer side, in pixels, of a part of a mammogram; a larger part is shrunk. Previews have it too."""
DECODED_BYTES = 64 << 20
"""Bytes of decoded mammograms that are kept: a reader looks at several parts of the same one."""

_REGION = re.compile(r"([0-9]{1,6})-([0-9]{1,6})-([0-9]{1,6})-([0-9]{1,6})")


@dataclass(frozen=True)
class Region:
    """A part of a mammogram in its pixels: row and column of the upper left corner, height and width."""

    row: int
    column: int
    height: int
    width: int

    @classmethod
    def parse(cls, text: str) -> "Region | None":
        """The region in an address, `row-column-height-width`; None, which is the whole mammogram, if it is empty."""
        if not text:
            return None
        found = _REGION.fullmatch(text)
        if found is None:
            raise InvalidInput(f"{quoted(text)} is not a region; expected row-column-height-width in pixels")
        return cls(*map(int, found.groups()))

    def box(self, image: Image.Image) -> tuple[int, int, int, int]:
        """The region as PIL writes it, without what lies outside of an image. InvalidInput if nothing remains."""
        right, bottom = min(self.column + self.width, image.width), min(self.row + self.height, image.height)
        if right <= self.column or bottom <= self.row:
            raise InvalidInput(f"{self} has no pixel of a mammogram of {image.height} x {image.width} pixels")
        return self.column, self.row, right, bottom


class StoredPatch(NamedTuple):
    """Where a patch is stored: bucket and key of its shard, and its bytes in it."""

    shard: tuple[str, str]
    offset: int
    size: int


@dataclass
class GreySources:
    """Reads patches and mammograms. Some decoded mammograms are kept in memory."""

    decoded: BoundedCache[Image.Image] = field(default_factory=lambda: BoundedCache(DECODED_BYTES, weight))

    def patch(self, blobs: Blobs, patch: StoredPatch) -> Image.Image:
        """A patch, with one ranged get."""
        return decode_exact(blobs.get_range(*patch.shard, patch.offset, patch.size), "this patch")

    def mammogram(self, blobs: Blobs, place: tuple[str, str], region: Region | None) -> Image.Image:
        """A region of a mammogram (bucket and key), shrunk to LARGEST_SIDE."""
        image = self.decoded.get(place, lambda: decode_exact(blobs.get(*place), "this mammogram"))
        box = region.box(image) if region is not None else (0, 0, image.width, image.height)
        height, width = box[3] - box[1], box[2] - box[0]
        factor = min(1.0, LARGEST_SIDE / max(height, width))
        if factor == 1.0:
            return image.crop(box)
        size = max(1, round(width * factor)), max(1, round(height * factor))
        return image.resize(size, Image.Resampling.BOX, box)


def weight(image: Image.Image) -> int:
    """The bytes of a decoded image in memory."""
    return image.width * image.height * depth(image) // 8


def depth(image: Image.Image) -> int:
    """The bits of a grey value of an image: 8 or 16."""
    return 16 if image.mode == DEEP else 8


def differences(image: Image.Image) -> bytes:
    """Grey values for the viewer: by rows, the difference of each value to the one on its left, modulo 2^8 or 2^16, in
    little-endian order, with gzip.

    A browser cannot read 16 bits from a PNG. Of a CBIS-DDSM patch of 630 x 630 pixels with 16 bits, this makes 390 kB;
    a PNG has 435 kB, and a PNG with the halves of each value in two channels 491 kB.
    """
    grey = np.asarray(image)
    steps = np.diff(grey, axis=1, prepend=grey.dtype.type(0))
    return gzip.compress(steps.astype(steps.dtype.newbyteorder("<")).tobytes(), compresslevel=1, mtime=0)


def png(image: Image.Image) -> bytes:
    """An image as a grey PNG of 8 or 16 bits, for programs."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
