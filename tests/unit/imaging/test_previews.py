"""Previews of mammograms."""

import io

import numpy as np
import pytest
from PIL import Image

from services.imaging.previews import PREVIEW_SIDE, encode_preview, reduced


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_reduced_pixels_are_the_means_of_blocks(dtype: type) -> None:
    """A side of three times 2200 pixels and some more becomes a third; means are rounded, and white remains white."""
    grey = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (6601, 31)).astype(dtype)
    grey[:300] = np.iinfo(dtype).max
    found = reduced(grey)
    expected = grey[:6600, :30].astype(float).reshape(2200, 3, 10, 3).mean(axis=(1, 3))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.floor(expected + 0.5))


def test_small_and_thin_pixels_stay_as_they_are() -> None:
    """Nothing is reduced below twice the side of a preview, and no side vanishes."""
    for shape in ((2 * PREVIEW_SIDE + 1, 100), (10 * PREVIEW_SIDE, 2)):
        grey = np.zeros(shape, np.uint16)
        assert reduced(grey) is grey


def test_a_preview_is_a_small_jpeg() -> None:
    """The longer side becomes that of a preview, and a smaller picture keeps its size."""
    for size, expected in (((3000, 2200), (1100, 807)), ((30, 20), (30, 20))):
        found = Image.open(io.BytesIO(encode_preview(Image.new("L", size, 200))))
        assert (found.format, found.mode, found.size) == ("JPEG", "L", expected)
        assert abs(int(np.asarray(found).mean()) - 200) <= 1
