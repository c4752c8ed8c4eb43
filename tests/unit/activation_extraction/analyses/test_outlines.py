"""Outlines as masks, compared with a point-by-point reference in exact arithmetic."""

from fractions import Fraction

import numpy as np
import pytest

from services.activation_extraction.analyses.outlines import Outlines, rasterise
from services.imaging.patches import Box
from tests.fakes.outlined import random_polygon

SIDE = 14


def inside(polygon: np.ndarray, row: Fraction, column: Fraction) -> bool:
    """Whether a ray to the right of a point crosses an odd number of edges."""
    crossings = 0
    points = [(Fraction(r), Fraction(c)) for r, c in polygon.tolist()]
    for (r0, c0), (r1, c1) in zip(points, [*points[1:], points[0]], strict=True):
        if (r0 <= row) != (r1 <= row):
            crossings += c0 + (row - r0) / (r1 - r0) * (c1 - c0) > column
    return crossings % 2 == 1


def reference(polygon: np.ndarray, box: Box, side: int) -> np.ndarray:
    """The mask of a polygon, from a test of each cell's centre in the mammogram's pixels."""
    mask = np.zeros((side, side), dtype=bool)
    half = Fraction(1, 2)
    for i in range(side):
        for j in range(side):
            row = box.row - half + (i + half) * Fraction(box.height, side)
            column = box.column - half + (j + half) * Fraction(box.width, side)
            mask[i, j] = inside(polygon, row, column)
    return mask


@pytest.mark.parametrize("seed", range(30))
def test_masks_equal_the_reference(seed: int) -> None:
    """rasterise equals the reference for polygons that leave the box, cross themselves and repeat vertices."""
    rng = np.random.default_rng(seed)
    polygon = random_polygon(rng, (60, 60))
    if seed % 3 == 0:
        polygon = np.concatenate([polygon, polygon[:1]])  # closed twice
    box = Box(*rng.integers(-10, 40, 2).tolist(), *rng.integers(5, 50, 2).tolist())
    np.testing.assert_array_equal(rasterise(polygon, box, SIDE), reference(polygon, box, SIDE))


def test_a_square_covers_its_pixels() -> None:
    """An outline through the centres of pixels 2 and 6 covers the pixels from 2 to 5: of the two borders, only the
    first one counts."""
    square = np.asarray([[2, 2], [2, 6], [6, 6], [6, 2]], dtype=np.float64)
    mask = rasterise(square, Box(0, 0, 8, 8), 8)
    expected = np.zeros((8, 8), dtype=bool)
    expected[2:6, 2:6] = True
    np.testing.assert_array_equal(mask, expected)


def test_a_hole_is_left_out() -> None:
    """A ring within a ring, joined by an edge that is followed twice, is not covered."""
    ring = [[0, 0], [0, 20], [20, 20], [20, 0], [0, 0]]
    hole = [[5, 5], [15, 5], [15, 15], [5, 15], [5, 5]]
    mask = rasterise(np.asarray([*ring, *hole], dtype=np.float64), Box(0, 0, 21, 21), 21)
    assert mask[2, 10] and mask[10, 2] and not mask[10, 10]
    assert mask.sum() == 20 * 20 - 10 * 10


def test_outlines_of_one_phenomenon_are_joined() -> None:
    """Overlapping outlines cover a cell once. Outlines of another mammogram, or far from the patch, cover nothing."""

    def row(mammogram: str, phenomenon: str, first: float) -> dict[str, object]:
        corners = [[first, first], [first, first + 4], [first + 4, first + 4], [first + 4, first]]
        return {"mammogram": mammogram, "phenomenon": phenomenon, "outline": corners}

    rows = [row("a", "vessel", 0), row("a", "vessel", 2), row("a", "mass", 100), row("b", "mass", 0)]
    outlines = Outlines(rows)
    masks = outlines.masks("a", Box(0, 0, 8, 8), 8)
    assert outlines.phenomena == ["mass", "vessel"]
    assert outlines.mammograms == {"a", "b"}
    assert masks.sum((1, 2)).tolist() == [0, 16 + 16 - 4]
    assert not outlines.masks("c", Box(0, 0, 8, 8), 8).any()
