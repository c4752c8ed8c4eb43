"""Draws simulated lesions into a real view.

Each view has several variants. A variant has its own lesions, and its own phase of the grid of square cells from which
patches are cut. A cell contains at most one lesion, and each lesion lies within its cell.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from services.imaging.patches import Box
from services.training.raw.layouts.sample.lesions import LESIONS, Outline, Site
from services.training.raw.layouts.sample.views import View

SEED = 7
FRACTION = 0.125
"""The side of a cell, as a part of the shorter side of the view."""
_LEAST_BREAST = 0.5  # the breast must cover at least this part of a cell
_NORMAL_SHARE = 0.4
_REACH = (0.26, 0.46)  # a lesion's largest radius as a part of its cell's side; below 0.5, so that the lesion fits


@dataclass(frozen=True)
class Variant:
    """Cells of a view and what is to be drawn into each: a phenomenon, or nothing ("")."""

    cells: tuple[Box, ...]
    phenomena: tuple[str, ...]
    rng: Generator

    def draw(self, view: View) -> tuple[NDArray[np.uint8], tuple[Outline, ...]]:
        """Return the view with the lesions in it, and their outlines in pixels of the view, in the order of the cells
        that have one. A variant can be drawn once, because that moves its generator on."""
        grey = view.grey.copy()
        outlines = tuple(
            insert_lesion(self.rng, phenomenon, grey, view.breast, cell)
            for cell, phenomenon in zip(self.cells, self.phenomena, strict=True)
            if phenomenon
        )
        return grey, outlines


def plan_variant(view: View, number: int, variant: int, seed: int = SEED) -> Variant:
    """Choose the cells and phenomena of variant 1, 2, … of view 0, 1, … The same numbers and seed give the same
    variant."""
    rng = np.random.default_rng([seed, number, variant])
    cells = grid_cells(view.breast, rng.random(2))
    return Variant(tuple(cells), tuple(assign_phenomena(rng, len(cells))), rng)


def grid_cells(breast: NDArray[np.bool_], phase: NDArray[np.float64]) -> list[Box]:
    """Return the cells of a grid that the breast covers by half or more. `phase` (2,) shifts the grid by 0 to 1 of a
    cell."""
    side = int(FRACTION * min(breast.shape))
    first_row, first_column = int(phase[0] * side), int(phase[1] * side)
    cells = []
    for row in range(first_row, breast.shape[0] - side + 1, side):
        for column in range(first_column, breast.shape[1] - side + 1, side):
            if breast[row : row + side, column : column + side].mean() >= _LEAST_BREAST:
                cells.append(Box(row, column, side, side))
    return cells


def assign_phenomena(rng: Generator, cells: int) -> list[str]:
    """Draw a phenomenon for each of `cells` cells. 0.4 of them are normal (""); the phenomena share the rest evenly."""
    normal = round(_NORMAL_SHARE * cells)
    names = tuple(LESIONS)
    first = int(rng.integers(len(names)))
    dealt = [names[(first + n) % len(names)] for n in range(cells - normal)]
    return [str(name) for name in rng.permutation(dealt + [""] * normal)]


def insert_lesion(
    rng: Generator, phenomenon: str, grey: NDArray[np.uint8], breast: NDArray[np.bool_], cell: Box
) -> Outline:
    """Draw a lesion into a cell of `grey`, in place. Return its outline in pixels of the mammogram."""
    place = (slice(cell.row, cell.row + cell.height), slice(cell.column, cell.column + cell.width))
    site = choose_site(rng, breast[place])
    changed, outline = LESIONS[phenomenon](rng, grey[place].astype(np.float32), site)
    grey[place] = np.rint(changed).astype(np.uint8)
    return tuple((round(row + cell.row, 1), round(column + cell.column, 1)) for row, column in outline)


def choose_site(rng: Generator, breast: NDArray[np.bool_]) -> Site:
    """Draw a circle within a square cell, with its centre well inside the part that the breast covers."""
    side = breast.shape[0]
    reach = side * rng.uniform(*_REACH)
    margin = math.ceil(reach)
    inner = slice(margin, side - margin)
    depth = ndimage.distance_transform_edt(np.pad(breast, 1, mode="edge"))[1:-1, 1:-1][inner, inner]
    deep_enough = np.flatnonzero(depth >= min(0.6 * reach, float(depth.max())))
    row, column = np.unravel_index(int(rng.choice(deep_enough)), depth.shape)
    return Site(float(row + margin), float(column + margin), reach)
