"""Where in a mammogram: the maps of tiles, put together over the whole image, and the outlines of what is bright in
them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import measure

from services.imaging.geometry import mask_outlines
from services.imaging.patches import Box, Outline

LONGER_SIDE = 512
"""Longer side of a map over a whole mammogram, in cells."""
MOST_OUTLINES = 12
"""Outlines of one unit, largest first."""
TOLERANCE = 0.7
"""How far an outline may leave the contour of its region, in cells."""


@dataclass(frozen=True)
class Canvas:
    """The grid of cells of a map over a mammogram of height x width pixels. A cell has `cell` x `cell` pixels."""

    height: int
    width: int

    @property
    def cell(self) -> float:
        """Side of a cell in pixels of the mammogram."""
        return max(1.0, max(self.height, self.width) / LONGER_SIDE)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        return max(1, round(self.height / self.cell)), max(1, round(self.width / self.cell))

    def mean_of(self, boxes: Sequence[Box], values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Average the (tiles,) values of all tiles that contain a cell. Cells in no tile are NaN."""
        total, count = np.zeros(self.shape), np.zeros(self.shape)
        for box, value in zip(boxes, values, strict=True):
            place = self._place(box)
            total[place] += value
            count[place] += 1
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
            mean: NDArray[np.float32] = (total / count).astype(np.float32)
        return mean

    def largest_of(self, boxes: Sequence[Box], maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Enlarge the (tiles, height, width) maps of all tiles to their boxes, and take the largest value in each cell.
        Cells in no tile are negative infinity."""
        largest = np.full(self.shape, -np.inf, dtype=np.float32)
        for box, map_ in zip(boxes, maps, strict=True):
            place = self._place(box)
            rows, columns = largest[place].shape
            enlarged = Image.fromarray(map_).resize((columns, rows), Image.Resampling.BILINEAR)
            np.maximum(largest[place], np.asarray(enlarged), out=largest[place])
        return largest

    def outlines(self, mask: NDArray[np.bool_]) -> list[Outline]:
        """The outlines of the connected parts of a mask of cells, largest first, in pixels of the mammogram."""
        found = []
        for outline in mask_outlines(mask)[:MOST_OUTLINES]:
            in_pixels = (_simplified(outline) + 0.5) * self.cell - 0.5
            found.append(tuple((round(row, 1), round(column, 1)) for row, column in in_pixels.tolist()))
        return found

    def _place(self, box: Box) -> tuple[slice, slice]:
        top, left = (int(edge / self.cell) for edge in (box.row, box.column))
        bottom, right = (round(edge / self.cell) for edge in (box.row + box.height, box.column + box.width))
        return slice(top, max(top + 1, bottom)), slice(left, max(left + 1, right))


def _simplified(outline: Outline) -> NDArray[np.float64]:
    """Fewer vertices of a closed outline."""
    approximate: Any = measure.approximate_polygon
    closed: NDArray[np.float64] = approximate(np.array([*outline, outline[0]]), TOLERANCE)
    return closed[:-1]
