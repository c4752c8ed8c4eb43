"""The pectoral muscle of drawn MLO views."""

import numpy as np
import pytest

from services.imaging.breast import find_breast
from services.imaging.pectoral import without_muscle
from tests.fakes.raw.drawn import HEIGHT, WIDTH, drawn_breast

ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH]
MUSCLE = COLUMNS < 90 * (1 - (ROWS - 20) / 150)


def drawn_view(right: bool = False, deep: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """A view with a bright muscle in the upper corner at the chest wall, and the mask of the muscle."""
    grey = drawn_breast(deep=deep).copy()
    inside = MUSCLE & find_breast(grey).full()
    grey[inside] = 200 * (257 if deep else 1)
    return (grey[:, ::-1], inside[:, ::-1]) if right else (grey, inside)


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("deep", [False, True])
def test_the_muscle_is_left_out(right: bool, deep: bool) -> None:
    """The drawn muscle is found at either chest wall and with either depth; the rest of the breast stays."""
    grey, drawn = drawn_view(right, deep)
    breast = find_breast(grey)
    found = breast.full() & ~without_muscle(grey, breast).full()
    assert 2 * (found & drawn).sum() / (found.sum() + drawn.sum()) > 0.9


def test_a_breast_in_the_middle_has_no_chest_wall() -> None:
    """Without a clear chest wall, nothing is removed."""
    grey = np.full((HEIGHT, WIDTH), 8, np.uint8)
    grey[100:200, 60:140] = 120
    breast = find_breast(grey)
    assert breast.chest_wall == ""
    assert without_muscle(grey, breast) is breast
