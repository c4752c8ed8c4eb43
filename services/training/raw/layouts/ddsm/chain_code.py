"""Chain codes of DDSM's overlays: paths of single steps around a lesion, and their repair to closed outlines.

A chain starts at a pixel (column, row). Each code is a step to one of its eight neighbours, seen from pixel x:

    7 0 1
    6 x 2
    5 4 3
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from services.imaging.patches import Outline

PixelPath = NDArray[np.int64]
"""(steps + 1) x 2: the row and the column of each pixel of a chain."""

FIRST_INDEX = 0
"""The number of the first row and column. DDSM's own software (overlay.c by M. Heath) uses the numbers of a start as
indexes of an array, so they count from 0. Some programs that rewrite overlays count from 1: see `first_index`."""
PASSES_START = "the outline passes its start; its largest loop is kept"
RETURNS_EARLY = "the outline returns to its start too early; its largest loop is kept"
OPEN = "the outline ends away from its start; a straight line closes it"

_STEPS = np.array([(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)])
_LEAST_LOOP = 0.5
"""The share of the area of an open chain that a loop in it must have to be the outline that was meant."""


@dataclass(frozen=True)
class Chain:
    """A chain code: its start as in the file, and its codes, a text of digits 0 to 7."""

    column: int
    row: int
    codes: str


@dataclass(frozen=True)
class ClosedPath:
    """The closed path of a chain, and the reason if it had to be repaired."""

    path: PixelPath
    repair: str = ""


def path_of(chain: Chain) -> PixelPath:
    """The pixels of a chain, with rows and columns that count as in the file."""
    codes = np.frombuffer(chain.codes.encode("ascii"), dtype=np.uint8) - ord("0")
    path = np.empty((len(codes) + 1, 2), dtype=np.int64)
    path[0] = chain.row, chain.column
    path[1:] = _STEPS[codes]
    return np.cumsum(path, axis=0, out=path)


def first_index(paths: Sequence[PixelPath], height: int, width: int) -> int:
    """1 if the paths of an overlay prove that its numbers count from 1, else `FIRST_INDEX`.

    They prove it if none touches row or column 0, one touches exactly the row `height` or the column `width`, and none
    goes beyond. Otherwise a path at `width` leaves the image, as some of DDSM do. Where nothing is proven, the error is
    at most one pixel (0.05 mm).
    """
    if not paths:
        return FIRST_INDEX
    least = np.min([path.min(axis=0) for path in paths], axis=0)
    largest = np.max([path.max(axis=0) for path in paths], axis=0)
    inside = (least >= 1).all() and largest[0] <= height and largest[1] <= width
    return 1 if inside and (largest[0] == height or largest[1] == width) else FIRST_INDEX


def closed(path: PixelPath) -> ClosedPath:
    """The loop that a chain was meant to be.

    A chain that comes back to its start before its end is cut there, and its largest part is kept. A chain that does
    not come back at all contains its outline if it crosses itself and encloses most of its area; else the ends are
    joined.
    """
    parts = _parts(path)
    areas = [abs(_area(part)) for part in parts]
    best = int(np.argmax(areas))
    repair = "" if len(parts) == 1 else PASSES_START if best == 0 else RETURNS_EARLY
    part = parts[best]
    if np.abs(part[-1] - part[0]).max() <= 1:  # some chains leave out the last step
        return ClosedPath(part, repair)
    loop = _largest_loop(part)
    if loop is not None and abs(_area(loop)) >= _LEAST_LOOP * areas[best]:
        return ClosedPath(loop, PASSES_START)
    return ClosedPath(part, OPEN)


def corners(path: PixelPath) -> Outline:
    """The vertices of a closed path at which its direction changes: the same polygon with fewer points."""
    ring = path[:-1] if len(path) > 1 and (path[0] == path[-1]).all() else path
    steps = np.diff(np.concatenate([ring[-1:], ring, ring[:1]]), axis=0)
    turns = (steps[:-1] != steps[1:]).any(axis=1)
    kept = ring[turns] if turns.any() else ring[:1]
    return tuple((float(row), float(column)) for row, column in kept)


def _parts(path: PixelPath) -> list[PixelPath]:
    """A path, cut wherever it comes back to its start."""
    visits = [int(visit) for visit in np.flatnonzero((path == path[0]).all(axis=1))]
    ends = visits if visits[-1] == len(path) - 1 else [*visits, len(path) - 1]
    parts = [path[begin : end + 1] for begin, end in pairwise(ends)]
    return parts or [path]


def _largest_loop(path: PixelPath) -> PixelPath | None:
    """The part of a path between two visits of the same pixel that encloses the largest area."""
    sums = np.concatenate([[0], np.cumsum(_crosses(path))])
    _, first, which = np.unique(path, axis=0, return_index=True, return_inverse=True)
    begins = first[which.reshape(-1)]
    areas = np.abs(sums - sums[begins])  # 0 where a pixel is visited for the first time
    end = int(np.argmax(areas))
    return path[begins[end] : end + 1] if areas[end] > 0 else None


def _area(path: PixelPath) -> float:
    """The area that a path encloses, with a straight line from its end to its start. Its sign is the direction."""
    return float(_crosses(np.concatenate([path, path[:1]])).sum()) / 2


def _crosses(path: PixelPath) -> NDArray[np.int64]:
    rows, columns = (path - path[0]).T
    return np.asarray(rows[:-1] * columns[1:] - rows[1:] * columns[:-1], dtype=np.int64)
