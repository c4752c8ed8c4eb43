"""Turns the outlines of phenomena into masks over patches."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.imaging.patches import Box

Polygon = NDArray[np.float64]

SIDE = 112
"""Cells along a side of the grid on which outlines are compared with patches and maps, as in NetDissect."""


class Outlines:
    """The outlines of a data set by mammogram and phenomenon, from rows of LESION_SCHEMA."""

    def __init__(self, rows: Sequence[dict[str, object]]) -> None:
        self._by_mammogram: defaultdict[str, list[tuple[int, Polygon]]] = defaultdict(list)
        self.phenomena: list[str] = sorted({str(row["phenomenon"]) for row in rows})
        numbers = {name: number for number, name in enumerate(self.phenomena)}
        for row in rows:
            polygon = np.asarray(row["outline"], dtype=np.float64).reshape(-1, 2)
            self._by_mammogram[str(row["mammogram"])].append((numbers[str(row["phenomenon"])], polygon))

    @property
    def mammograms(self) -> set[str]:
        """The mammograms that have outlines."""
        return set(self._by_mammogram)

    def masks(self, mammogram: str, box: Box, side: int) -> NDArray[np.bool_]:
        """(phenomena, side, side): the cells of a patch that are within the outlines of each phenomenon."""
        masks = np.zeros((len(self.phenomena), side, side), dtype=np.bool_)
        for phenomenon, polygon in self._by_mammogram.get(mammogram, ()):
            masks[phenomenon] |= rasterise(polygon, box, side)
        return masks


def rasterise(polygon: Polygon, box: Box, side: int) -> NDArray[np.bool_]:
    """Return which of the side x side cells of a box have their centre within a polygon of (row, column) vertices.

    The even-odd rule decides. A hole is drawn by following an edge to its ring, and the same edge back. Vertices are in
    pixels of the mammogram, and whole numbers are the centres of pixels. So a box begins half a pixel above and to the
    left of its first pixel's centre.
    """
    rows = (polygon[:, 0] + 0.5 - box.row) * (side / box.height)
    columns = (polygon[:, 1] + 0.5 - box.column) * (side / box.width)
    if rows.max() <= 0 or rows.min() >= side or columns.max() <= 0 or columns.min() >= side:
        return np.zeros((side, side), dtype=np.bool_)
    next_rows, next_columns = np.roll(rows, -1), np.roll(columns, -1)
    centres = np.arange(side)[:, None] + 0.5
    line, edge = np.nonzero((rows <= centres) != (next_rows <= centres))
    along = (line + 0.5 - rows[edge]) / (next_rows[edge] - rows[edge])
    crossing = columns[edge] + along * (next_columns[edge] - columns[edge])
    first = np.clip(np.ceil(crossing - 0.5), 0, side).astype(np.int64)  # the first cell whose centre is not to the left
    crossed = np.zeros((side, side + 1), dtype=np.int64)
    np.add.at(crossed, (line, first), 1)
    inside: NDArray[np.bool_] = np.cumsum(crossed[:, :side], axis=1) % 2 == 1
    return inside
