"""Simulated lesions: where and how they change the tissue, and their outlines."""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from services.training.raw.layouts.sample.lesions import CANCEROUS, LESIONS, Site, expose

SIDE = 360
SITE = Site(190.0, 170.0, 150.0)
EVERY = pytest.mark.parametrize("phenomenon", sorted(LESIONS))


def tissue() -> np.ndarray:
    """Mottled tissue of middle grey, SIDE x SIDE."""
    rng = np.random.default_rng(3)
    mottle = ndimage.gaussian_filter(rng.normal(0.0, 1.0, (SIDE, SIDE)), 6.0)
    return (110.0 + 15.0 * mottle / mottle.std() + rng.normal(0.0, 2.0, (SIDE, SIDE))).astype(np.float32)


def drawn(phenomenon: str, seed: int = 0) -> tuple[np.ndarray, tuple[tuple[float, float], ...]]:
    return LESIONS[phenomenon](np.random.default_rng(seed), tissue(), SITE)


def inside(outline: tuple[tuple[float, float], ...]) -> np.ndarray:
    """True within the polygon."""
    mask = Image.new("1", (SIDE, SIDE))
    ImageDraw.Draw(mask).polygon([(column, row) for row, column in outline], fill=1)
    return np.asarray(mask)


@EVERY
def test_lesions_depend_on_the_generator_only(phenomenon):
    """The same seed draws the same lesion, another seed another one. The given region does not change."""
    first, outline = drawn(phenomenon)
    again, outline_again = drawn(phenomenon)
    np.testing.assert_array_equal(first, again)
    assert outline == outline_again
    assert outline != drawn(phenomenon, seed=1)[1]
    region = tissue()
    LESIONS[phenomenon](np.random.default_rng(0), region, SITE)
    np.testing.assert_array_equal(region, tissue())


@EVERY
@pytest.mark.parametrize("seed", range(5))
def test_lesions_change_nothing_beyond_their_reach(phenomenon, seed):
    """Pixels beyond the reach equal those of the tissue, and grey values stay within 0 to 255."""
    changed, _ = drawn(phenomenon, seed)
    rows, columns = np.ogrid[:SIDE, :SIDE]
    beyond = np.hypot(rows - SITE.row, columns - SITE.column) > SITE.reach
    np.testing.assert_array_equal(changed[beyond], tissue()[beyond])
    assert changed.dtype == np.float32
    assert 0.0 <= changed.min() <= changed.max() <= 255.0


@EVERY
@pytest.mark.parametrize("seed", range(5))
def test_the_outline_contains_the_lesion(phenomenon, seed):
    """At least nine tenths of the added density lie within half a millimetre of the outline, and within the reach."""
    changed, outline = drawn(phenomenon, seed)
    added = np.maximum(changed - tissue(), 0.0)
    within = ndimage.binary_dilation(inside(outline), iterations=10)
    assert added[within].sum() >= 0.9 * added.sum()
    assert added[inside(outline)].mean() > 20.0 * added[~within].mean()
    assert added[inside(outline)].mean() > 1.5
    corners = np.array(outline) - (SITE.row, SITE.column)
    assert np.hypot(*corners.T).max() <= SITE.reach + 10.0


@pytest.mark.parametrize("phenomenon", ["spiculated_mass", "circumscribed_mass"])
def test_tissue_is_visible_through_a_mass(phenomenon):
    """The fine texture in a mass is that of the tissue: density is added, and nothing is painted over."""
    changed, outline = drawn(phenomenon)
    core = ndimage.binary_erosion(inside(outline), iterations=20)
    fine = [image - ndimage.gaussian_filter(image, 2.0) for image in (changed, tissue())]
    assert np.corrcoef(fine[0][core], fine[1][core])[0, 1] > 0.8


def test_calcium_is_brighter_and_finer_than_a_mass():
    """Calcifications have a higher contrast than a mass, over a far smaller area."""
    calcium = drawn("pleomorphic_calcifications")[0] - tissue()
    mass = drawn("circumscribed_mass")[0] - tissue()
    assert calcium.max() > mass.max()
    assert (calcium > 10.0).sum() < 0.2 * (mass > 10.0).sum()


def test_spiculated_masses_have_longer_borders_than_circumscribed_ones():
    """Relative to its area, the outline of a spiculated mass is far longer than that of a circumscribed one."""
    assert _length_for_area("spiculated_mass") > 1.3 * _length_for_area("circumscribed_mass")


def _length_for_area(phenomenon: str) -> float:
    """The length of the outline, relative to a circle of the same area."""
    corners = np.array(drawn(phenomenon)[1])
    length = np.hypot(*(corners - np.roll(corners, 1, axis=0)).T).sum()
    return float(length / np.sqrt(4.0 * np.pi * inside(drawn(phenomenon)[1]).sum()))


def test_film_saturates():
    """Density has its full effect in the middle of the grey scale and never exceeds white. Density 0 has no effect."""
    greys = np.array([[50.0, 150.0, 245.0]], dtype=np.float32)
    added = expose(greys, np.full_like(greys, 20.0)) - greys
    assert added[0, 0] > added[0, 1] > added[0, 2] > 0.0
    assert added[0, 0] > 18.0
    assert expose(greys, np.full_like(greys, 1000.0)).max() <= 250.0
    np.testing.assert_array_equal(expose(greys, np.zeros_like(greys)), greys)


def test_half_of_the_phenomena_suggest_cancer():
    """Spiculated masses and pleomorphic calcifications are the cancerous ones."""
    assert CANCEROUS == {"spiculated_mass", "pleomorphic_calcifications"} < set(LESIONS)
