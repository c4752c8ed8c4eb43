"""The grid of patches, and the background around the breast."""

import numpy as np
import pytest

from services.imaging.breast import find_breast
from services.imaging.patch_grid import blank_background, patch_grid
from services.imaging.patches import Box
from tests.fakes.raw.drawn import drawn_breast


@pytest.mark.parametrize(("height", "width"), [(400, 200), (433, 219), (200, 511)])
def test_a_grid_to_the_edges_covers_the_whole_mammogram(height: int, width: int) -> None:
    """It adds patches to the plain grid that end at the edges, in order, and every pixel belongs to a patch."""
    plain = list(patch_grid(height, width, 0.25, 0.5))
    boxes = list(patch_grid(height, width, 0.25, 0.5, to_edges=True))
    covered = np.zeros((height, width), bool)
    for box in boxes:
        covered[box.row : box.row + box.height, box.column : box.column + box.width] = True
        assert box.row + box.height <= height and box.column + box.width <= width
    assert covered.all()
    assert set(plain) <= set(boxes) and len(set(boxes)) == len(boxes)
    assert boxes == sorted(boxes, key=lambda box: (box.row, box.column))


def test_a_mammogram_smaller_than_a_patch_has_no_grid() -> None:
    """A side that rounds down to nothing gives no patch."""
    assert list(patch_grid(3, 3, 0.25, 0.5, to_edges=True)) == []
    assert list(patch_grid(8, 8, 1.0, 0.5, to_edges=True)) == [Box(0, 0, 8, 8)]


def test_markers_outside_the_breast_are_blanked() -> None:
    """The marker gets the grey of the background; nothing of the breast changes."""
    grey = drawn_breast()
    grey[10:40, 150:190] = 65535
    breast = find_breast(grey)
    cleaned = blank_background(grey, breast)
    assert cleaned[10:40, 150:190].max() < 8 * 257 + 2000
    np.testing.assert_array_equal(cleaned[breast.full()], grey[breast.full()])
    assert grey[20, 170] == 65535
