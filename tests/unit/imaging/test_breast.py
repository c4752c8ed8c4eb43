"""The breast mask of a mammogram, on drawn mammograms of known outline."""

import numpy as np
import pytest

from services.common.errors import InvalidInput
from services.imaging.breast import breast_mask

SHAPE = (900, 600)
ROWS, COLUMNS = np.mgrid[: SHAPE[0], : SHAPE[1]]
BREAST = ((ROWS - 450) / 380.0) ** 2 + (COLUMNS / 330.0) ** 2 < 1.0


def drawn_mammogram(background: float = 8.0) -> np.ndarray:
    """A half ellipse of bright, mottled tissue at the left edge, on a noisy background, 8 bits."""
    rng = np.random.default_rng(1)
    grey = np.where(BREAST, 60.0 + 90.0 * (1.0 - COLUMNS / 330.0), background) + rng.normal(0.0, 3.0, SHAPE)
    return np.clip(grey, 0, 255).astype(np.uint8)


def overlap(mask: np.ndarray) -> float:
    """Intersection over union with the drawn breast."""
    return float((mask & BREAST).sum() / (mask | BREAST).sum())


@pytest.mark.parametrize("background", [0.0, 8.0, 30.0])
def test_mask_is_the_drawn_breast(background):
    """The mask agrees with the drawn outline, however dark or grey the film base is."""
    assert overlap(breast_mask(drawn_mammogram(background))) > 0.97


def test_mask_of_16_bits_is_that_of_8():
    """Depth does not matter: 16-bit pixels of the same picture give the same mask."""
    grey = drawn_mammogram()
    np.testing.assert_array_equal(breast_mask(grey.astype(np.uint16) * 257), breast_mask(grey))


def test_markers_and_film_edges_are_left_out():
    """A white marker on the background and white strips along the film's edges are no breast."""
    grey = drawn_mammogram()
    grey[60:130, 420:560] = 255
    grey[:12], grey[:, -10:], grey[:, :8] = 255, 255, 255
    mask = breast_mask(grey)
    assert not mask[60:130, 420:560].any()
    assert not mask[:, -10:].any()
    assert overlap(mask) > 0.95


def test_dark_holes_in_the_breast_belong_to_it():
    """Fat darker than the skin level, with tissue all around, is breast."""
    grey = drawn_mammogram()
    grey[430:470, 100:140] = 0
    assert breast_mask(grey)[430:470, 100:140].all()


def test_images_without_a_breast_are_refused():
    """A blank film, a colour image and floats raise InvalidInput."""
    with pytest.raises(InvalidInput, match="no breast"):
        breast_mask(np.full(SHAPE, 7, dtype=np.uint8))
    with pytest.raises(InvalidInput, match="H x W"):
        breast_mask(np.zeros((8, 8, 3), dtype=np.uint8))
    with pytest.raises(InvalidInput, match="float64"):
        breast_mask(np.zeros((8, 8)))
