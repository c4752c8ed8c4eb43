"""Drawn mammograms: a bright half ellipse of tissue at one edge, and a layout that yields what it was made with."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.imaging.licence import Licence, Term
from services.training.raw.case import RawMammogram
from services.training.raw.layout import Layout
from services.training.raw.report import ImportReport
from services.training.raw.source.files import SourceFiles

HEIGHT, WIDTH = 320, 200
SKIPPED = "drawn and left out"


def drawn_breast(height: int = HEIGHT, width: int = WIDTH, seed: int = 1, deep: bool = True) -> NDArray[np.generic]:
    """A breast at the left edge on a dark background with a little noise, of 16 or 8 bits."""
    rows, columns = np.mgrid[:height, :width]
    inside = ((rows - height / 2) / (0.42 * height)) ** 2 + (columns / (0.8 * width)) ** 2 < 1.0
    grey = np.where(inside, 60.0 + 90.0 * (1.0 - columns / width), 8.0)
    grey += np.random.default_rng(seed).normal(0.0, 2.0, grey.shape)
    values = np.clip(grey, 0, 255)
    return (values * 257).astype(np.uint16) if deep else values.astype(np.uint8)


def encoded(grey: NDArray[np.generic], kind: str = "PNG") -> bytes:
    """Grey values as a file."""
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, kind)
    return buffer.getvalue()


class DrawnLayout(Layout):
    """Yields the mammograms that it was made with."""

    name = "drawn"
    title = "Drawn mammograms"
    licence = Licence(name="test", citation="nobody", terms=(Term.NO_WEIGHTS_RELEASE,))
    mammograms: Sequence[RawMammogram] = ()

    def scan(self, files: SourceFiles, report: ImportReport) -> Iterator[RawMammogram]:
        """Yield the mammograms whose files exist, and report one more as left out."""
        report.drop(SKIPPED, "line 1")
        yield from (one for one in self.mammograms if one.file in files.names)


@dataclass
class MemoryFiles:
    """Files in memory."""

    content: dict[str, bytes]

    @property
    def names(self) -> list[str]:
        """The names of all files, sorted."""
        return sorted(self.content)

    def read(self, name: str, most: int = 1 << 30) -> bytes:
        """A whole file."""
        assert len(self.content[name]) <= most
        return self.content[name]

    def where(self, name: str) -> str:
        """A file as messages name it."""
        return name
