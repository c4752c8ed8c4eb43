"""Maps over a whole mammogram, and outlines in them."""

import numpy as np
import pytest

from services.activation_extraction.explanations.places import LONGER_SIDE, Canvas
from services.imaging.geometry import Region
from services.imaging.patches import Box


def test_the_mean_is_over_the_tiles_that_contain_a_cell() -> None:
    """Overlapping tiles are averaged, and a cell in no tile has no value."""
    canvas = Canvas(40, 60)
    found = canvas.mean_of([Box(0, 0, 20, 20), Box(0, 10, 20, 20)], np.array([0.2, 0.6], np.float32))
    assert found.shape == (40, 60)
    assert (
        found[5, 5] == pytest.approx(0.2) and found[5, 15] == pytest.approx(0.4) and found[5, 25] == pytest.approx(0.6)
    )
    assert np.isnan(found[30, 30])


def test_a_map_is_enlarged_to_the_box_of_its_tile() -> None:
    """The brightest position of a tile's map lies where the tile has it, and the larger of two tiles wins."""
    canvas = Canvas(400, 300)
    maps = np.zeros((2, 4, 4), np.float32)
    maps[0, 3, 0], maps[1, :, :] = 5.0, 1.0
    found = canvas.largest_of([Box(100, 100, 80, 80), Box(100, 100, 40, 40)], maps)
    row, column = np.unravel_index(np.argmax(found), found.shape)
    assert 160 <= row < 180 and 100 <= column < 120
    assert found[110, 110] == 1.0
    assert found[50, 50] == -np.inf


@pytest.mark.parametrize(("height", "width"), [(400, 300), (3000, 4500)])
def test_outlines_surround_what_the_mask_marks(height: int, width: int) -> None:
    """In pixels of the mammogram the outline has the area and the place of the mask, to a cell."""
    canvas = Canvas(height, width)
    mask = np.zeros(canvas.shape, bool)
    mask[30:60, 40:110] = True
    [outline] = canvas.outlines(mask)
    assert len(outline) <= 8
    cell = canvas.cell
    area = Region.of([outline], height, width).area
    assert area == pytest.approx(30 * 70 * cell**2, rel=0.06)
    rows, columns = np.array(outline).T
    assert rows.mean() == pytest.approx(45 * cell, abs=cell) and columns.mean() == pytest.approx(75 * cell, abs=cell)
    assert max(canvas.shape) == (LONGER_SIDE if cell > 1 else max(height, width))
