"""The overlay, compared with the original's method and with a slow reference in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from services.patch_rendering.overlay import bilinear_matrix, overlay, resize_maps

SIZE = 227


def original_overlay(pixels: np.ndarray, maps: np.ndarray, best: float) -> np.ndarray:
    """Repeat the original's steps: divide, resize with PIL, binarise, multiply, truncate to uint8."""
    pictures = []
    for patch, map_ in zip(pixels, maps, strict=True):
        size = (patch.shape[1], patch.shape[0])
        divided = map_.astype(np.float32) / np.float32(best)
        mask = np.array(Image.fromarray(divided).resize(size, resample=Image.Resampling.BILINEAR))
        mask[mask < 0.2] = 0.2
        mask[mask > 0.2] = 1.0
        pictures.append(np.uint8(np.multiply(patch.astype(np.float32), mask)))
    return np.stack(pictures)


def slow_reference(pixels: np.ndarray, maps: np.ndarray, best: float) -> tuple[np.ndarray, np.ndarray]:
    """Compute in float64, pixel by pixel, the picture and the interpolated map divided by the best."""
    count, size, _ = pixels.shape
    height, width = maps.shape[1:]
    picture, weights = np.zeros_like(pixels), np.zeros((count, size, size))
    for n in range(count):
        for row in range(size):
            for column in range(size):
                y, x = (row + 0.5) * height / size - 0.5, (column + 0.5) * width / size - 0.5
                y0, x0 = int(np.floor(y)), int(np.floor(x))
                value = 0.0
                for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
                    weight = (dy - (y - y0) if dy else 1 - (y - y0)) if dy == 0 else y - y0
                    weight *= (1 - (x - x0)) if dx == 0 else x - x0
                    source = maps[n, min(max(y0 + dy, 0), height - 1), min(max(x0 + dx, 0), width - 1)]
                    value += weight * float(source)
                weights[n, row, column] = value / best
                keep = value / best > 0.2
                picture[n, row, column] = pixels[n, row, column] if keep else int(pixels[n, row, column] * 0.2)
    return picture, weights


@pytest.mark.parametrize(("height", "width"), [(1, 1), (6, 6), (7, 7), (13, 13), (8, 5), (56, 56), (227, 227)])
def test_the_picture_equals_the_originals(height: int, width: int) -> None:
    """Every pixel of 64 pictures equals the original's, for maps of the original's sizes and of others."""
    rng = np.random.default_rng(height * 1000 + width)
    pixels = rng.integers(0, 256, (64, SIZE, SIZE), dtype=np.uint8)
    maps = rng.normal(0.3, 1, (64, height, width)).astype(np.float16)
    best = float(maps[0].max())
    if best <= 0:
        maps, best = -maps, float((-maps)[0].max())
    np.testing.assert_array_equal(overlay(pixels, maps, best), original_overlay(pixels, maps, best))


def test_every_grey_value_is_dimmed_as_the_original_does() -> None:
    """All 256 values are multiplied by 0.2 in float32 and truncated under a map far below the threshold, and unchanged
    under one far above."""
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    low, high = np.full((1, 2, 2), 0.01, np.float16), np.full((1, 2, 2), 0.9, np.float16)
    np.testing.assert_array_equal(overlay(pixels, low, 1.0), original_overlay(pixels, low, 1.0))
    np.testing.assert_array_equal(overlay(pixels, high, 1.0), pixels)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(9, 20), st.integers(0, 2**32 - 1))
def test_the_picture_equals_a_slow_reference(height: int, width: int, size: int, seed: int) -> None:
    """Every pixel equals simple bilinear interpolation in float64, except where that lies on the threshold."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (2, size, size), dtype=np.uint8)
    maps = rng.normal(0.3, 1, (2, height, width)).astype(np.float16)
    best = max(float(maps.max()), 0.5)
    expected, weights = slow_reference(pixels, maps, best)
    differ = overlay(pixels, maps, best) != expected
    # An integer product may be truncated to one less in float32 than in float64, never to more.
    grey = np.abs(overlay(pixels, maps, best).astype(int) - expected) <= 1
    assert (~differ | grey | (np.abs(weights - 0.2) < 1e-5)).all()


@pytest.mark.parametrize(("source", "target"), [(7, 227), (1, 5), (227, 227), (30, 7), (8, 8)])
def test_the_resize_equals_pils(source: int, target: int) -> None:
    """Enlarging and shrinking give the result of PIL's bilinear filter on floating-point images."""
    maps = np.random.default_rng(source).normal(0, 1, (3, source, source)).astype(np.float32)
    for map_, resized in zip(maps, resize_maps(maps, target), strict=True):
        expected = np.array(Image.fromarray(map_).resize((target, target), Image.Resampling.BILINEAR))
        np.testing.assert_allclose(resized, expected, atol=2e-7)
    np.testing.assert_allclose(bilinear_matrix(source, target).sum(1), 1)


@pytest.mark.parametrize("best", [0.0, -1.0, float("nan")])
def test_a_unit_that_is_never_active_has_no_picture(best: float) -> None:
    """overlay raises ValueError if the best activation is not positive, since the division would be meaningless."""
    with pytest.raises(ValueError, match="no picture"):
        overlay(np.zeros((1, 8, 8), np.uint8), np.zeros((1, 2, 2), np.float16), best)
