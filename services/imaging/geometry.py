"""Regions in mammograms: outlines of boxes, ellipses and masks, and the part of a rectangle that a region covers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from skimage import measure

from services.common.errors import InvalidInput
from services.imaging.patches import Box, Outline

CORNERS = 72
"""Vertices of the outline of an ellipse."""


INSIDE = 0.999
"""The level of a contour from 0 outside to 1 at the centres of pixels of a mask."""


def box_outline(top: float, left: float, bottom: float, right: float) -> Outline:
    """The outline of a box."""
    return ((top, left), (top, right), (bottom, right), (bottom, left))


def ellipse_outline(row: float, column: float, vertical: float, horizontal: float) -> Outline:
    """The outline of an upright ellipse with these half-axes in pixels."""
    angles = [2 * math.pi * corner / CORNERS for corner in range(CORNERS)]
    return tuple((row + vertical * math.sin(angle), column + horizontal * math.cos(angle)) for angle in angles)


def mask_outlines(mask: NDArray[np.bool_]) -> tuple[Outline, ...]:
    """The outlines of the connected parts of a mask, largest first, through the centres of their outermost pixels.
    Holes are filled."""
    filled = ndimage.binary_fill_holes(np.pad(mask, 1))
    parts = [contour - 1.0 for contour in _contours(filled)]
    parts.sort(key=len, reverse=True)
    return tuple(tuple((round(row, 1), round(column, 1)) for row, column in part[:-1].tolist()) for part in parts)


@dataclass(frozen=True)
class Region:
    """The pixels inside of some outlines and inside of the image, as sums over rectangles from its upper left corner.

    `sums` is (height + 1) x (width + 1): the number of the region's pixels above and left of each corner.
    """

    row: int
    column: int
    sums: NDArray[np.int64]

    @classmethod
    def of(cls, outlines: Sequence[Outline], height: int, width: int) -> "Region":
        """The region of outlines in an image of this size. Parts outside of the image do not count; a finding that lies
        outside completely has no pixels. Each outline is filled by the even-odd rule."""
        vertices = [vertex for outline in outlines for vertex in outline]
        if not vertices:
            raise InvalidInput("a region needs at least one outline with vertices")
        rows, columns = zip(*vertices, strict=True)
        top, left = max(0, math.floor(min(rows))), max(0, math.floor(min(columns)))
        bottom, right = min(height, math.ceil(max(rows)) + 1), min(width, math.ceil(max(columns)) + 1)
        mask = np.zeros((max(0, bottom - top), max(0, right - left)), dtype=bool)
        for outline in outlines:
            mask |= _filled(outline, top, left, mask.shape)
        return cls(top, left, _sums(mask))

    @classmethod
    def of_mask(cls, mask: NDArray[np.bool_]) -> "Region":
        """The region of a mask of the whole image."""
        return cls(0, 0, _sums(mask))

    @property
    def area(self) -> int:
        """The number of pixels."""
        return int(self.sums[-1, -1])

    def covered(self, box: Box) -> int:
        """The number of pixels of the region in a box."""
        height, width = self.sums.shape[0] - 1, self.sums.shape[1] - 1
        top, bottom = (min(max(row - self.row, 0), height) for row in (box.row, box.row + box.height))
        left, right = (min(max(column - self.column, 0), width) for column in (box.column, box.column + box.width))
        sums = self.sums
        return int(sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left])


def _filled(outline: Outline, top: int, left: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """A mask of an outline with its corner at (top, left). PIL clips what leaves it."""
    height, width = shape
    image = Image.new("1", (max(1, width), max(1, height)))
    drawn = [(column - left, row - top) for row, column in outline]
    if len(drawn) > 2:
        ImageDraw.Draw(image).polygon(drawn, fill=1, outline=1)
    else:
        ImageDraw.Draw(image).line(drawn * 2, fill=1)  # a speck of one or two points is its pixels
    return np.asarray(image, dtype=bool)[:height, :width]


def _sums(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    padded = np.pad(mask.astype(np.int64), ((1, 0), (1, 0)))
    return padded.cumsum(axis=0).cumsum(axis=1)


def _contours(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    find_contours: Any = measure.find_contours
    found: list[NDArray[np.float64]] = find_contours(mask.astype(np.float32), INSIDE)
    return found
