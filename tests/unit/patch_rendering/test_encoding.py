"""Encoded pictures and contact sheets."""

import io

import numpy as np
import pytest
from PIL import Image

from services.imaging.media import media_type
from services.patch_rendering.encoding import Encoding


def decoded(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize("colours", [(), (3,)])
@pytest.mark.parametrize("format", ["jpeg", "webp"])
def test_a_sheet_holds_the_pictures_in_rows_of_eight(format: str, colours: tuple[int, ...]) -> None:
    """Ten pictures fill two rows of eight cells at half their side, in the order of their ranks; the rest is black."""
    pictures = np.stack([np.full((40, 40, *colours), 20 * (n + 1), np.uint8) for n in range(10)])
    sheet = decoded(Encoding(format).sheet(pictures))
    assert sheet.shape[:2] == (40, 160)
    for n in range(16):
        row, column = divmod(n, 8)
        centre = sheet[row * 20 + 10, column * 20 + 10]
        assert np.abs(centre.astype(int) - (20 * (n + 1) if n < 10 else 0)).max() <= 3, n


@pytest.mark.parametrize("format", ["jpeg", "webp"])
def test_pictures_survive_their_encoding(format: str) -> None:
    """Smooth pictures, grey and in colour, differ little after decoding, also if a larger picture precedes them in the
    same file. The first bytes identify the format."""
    grey = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(np.uint8)
    colour = np.stack([grey, grey.T, np.full_like(grey, 90)], 2)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    _, plain, tinted = Encoding(format, 95).encode([noise, grey, colour])
    found = decoded(plain)
    assert np.abs((found if found.ndim == 2 else found[..., 0]).astype(int) - grey).max() <= 6
    assert np.abs(decoded(tinted).astype(int) - colour).mean() <= 6
    assert (media_type(plain), media_type(tinted)) == (f"image/{format}",) * 2


def test_the_bytes_equal_pils() -> None:
    """Encoding into a file gives the same bytes as encoding into memory."""
    picture = np.random.default_rng(0).integers(0, 256, (227, 227), dtype=np.uint8)
    expected = io.BytesIO()
    Image.fromarray(picture).save(expected, "JPEG", quality=85)
    assert Encoding().encode([picture]) == [expected.getvalue()]


def test_quality_costs_bytes() -> None:
    """A lower quality gives fewer bytes, in both formats."""
    picture = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    for format in ("jpeg", "webp"):
        [small], [large] = (Encoding(format, quality).encode([picture]) for quality in (30, 90))
        assert len(small) < len(large)
