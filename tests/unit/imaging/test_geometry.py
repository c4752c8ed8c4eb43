"""Regions and outlines, compared with counts of pixels."""

import numpy as np
import pytest

from services.common.errors import InvalidInput
from services.imaging.geometry import Region, box_outline, ellipse_outline, mask_outlines
from services.imaging.patches import Box


def test_a_region_counts_the_pixels_of_its_outlines_in_a_box() -> None:
    """The count is that of the mask, for boxes everywhere, also outside of the region and partly of the image."""
    region = Region.of([box_outline(10, 20, 29, 59), box_outline(25, 50, 44, 69)], 100, 100)
    mask = np.zeros((100, 100), bool)
    mask[10:30, 20:60] = mask[25:45, 50:70] = True
    assert region.area == mask.sum()
    rng = np.random.default_rng(2)
    for row, column, side in rng.integers(0, 100, (200, 3)):
        box = Box(int(row), int(column), int(side), int(side))
        assert region.covered(box) == mask[row : row + side, column : column + side].sum()


@pytest.mark.parametrize(
    ("outline", "area"),
    [
        (box_outline(-10, -10, 4, 4), 25),
        (box_outline(90, 90, 200, 200), 100),
        (box_outline(200, 200, 210, 210), 0),
        (((5.0, 5.0),), 1),
        (((5.0, 5.0), (5.0, 8.0)), 4),
    ],
    ids=["leaves top left", "leaves bottom right", "outside", "a point", "a line"],
)
def test_outlines_that_leave_the_image_or_are_tiny(outline: tuple[tuple[float, float], ...], area: int) -> None:
    """Only pixels of the image count; a speck of one or two points has its own pixels."""
    assert Region.of([outline], 100, 100).area == area


def test_a_region_needs_an_outline() -> None:
    """Nothing is not a region."""
    with pytest.raises(InvalidInput, match="at least one outline"):
        Region.of([], 10, 10)


def test_the_outline_of_a_mask_fills_the_same_pixels() -> None:
    """Parts come back, the largest first, with their holes filled, also at the border of the image."""
    mask = np.zeros((80, 60), bool)
    mask[:30, 10:50] = True
    mask[10:15, 20:25] = False
    mask[50:60, 50:] = True
    mask[70, 5] = True
    mask[40:48, 3:30] = np.tri(8, 27, 3, dtype=bool)
    outlines = mask_outlines(mask)
    assert len(outlines) == 4
    mask[10:15, 20:25] = True
    assert Region.of(outlines[:1], 80, 60).area == 30 * 40
    assert Region.of(outlines, 80, 60).area == mask.sum()
    assert mask_outlines(np.zeros((5, 5), bool)) == ()


def test_an_ellipse_has_the_area_of_an_ellipse() -> None:
    """Its area is pi times its half-axes."""
    area = Region.of([ellipse_outline(50, 50, 20, 40)], 100, 100).area
    assert area == pytest.approx(np.pi * 20 * 40, rel=0.03)
