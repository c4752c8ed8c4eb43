"""From encoded patches to the input of a network: 8 and 16 bits, one channel and three."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from services.common.errors import InvalidInput
from services.imaging.decode import decode_exact, decode_grey
from services.imaging.preprocessing import Preprocessing

SIDE = 64


def png(pixels: NDArray[np.generic]) -> bytes:
    """Encoded without loss."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def ramp() -> NDArray[np.uint16]:
    """A 16-bit patch in which every pixel differs from its neighbour by less than 8 bits can show."""
    return (20_000 + np.arange(SIDE * SIDE).reshape(SIDE, SIDE)).astype(np.uint16)


def test_sixteen_bits_stay_sixteen_bits() -> None:
    """All 4,096 neighbouring grey values stay distinct through decoding, stacking and normalising."""
    preprocessing = Preprocessing(size=SIDE, mean=(0.0,) * 3, std=(1.0,) * 3)
    pixels = preprocessing.pixels(png(ramp()), "patch")
    assert pixels.dtype == np.uint16
    assert np.array_equal(pixels, ramp())
    images = preprocessing.normalise(torch.from_numpy(preprocessing.stack([pixels])))
    assert images[0, 0].unique().numel() == SIDE * SIDE
    assert torch.equal(images[0, 2], torch.from_numpy(ramp().astype(np.float32)) / 65535)


def test_sixteen_bits_are_resized_as_they_are() -> None:
    """Bilinear, to within one grey value of the same in floating point."""
    expected = Image.fromarray(ramp().astype(np.float32)).resize((24, 24), Image.Resampling.BILINEAR)
    found = Preprocessing(size=24).pixels(png(ramp()), "patch")
    assert found.dtype == np.uint16
    assert np.abs(found.astype(np.float64) - np.asarray(expected)).max() <= 1


def test_patches_of_both_depths_make_one_batch() -> None:
    """White is white, and black rows follow where a batch is to be full; 8 bits alone stay 8 bits."""
    preprocessing = Preprocessing(size=SIDE)
    deep, plain = np.full((SIDE, SIDE), 65535, np.uint16), np.full((SIDE, SIDE), 255, np.uint8)
    stacked = preprocessing.stack([deep, plain], rows=3)
    assert (stacked[0] == 65535).all() and (stacked[1] == 65535).all() and not stacked[2].any()
    assert preprocessing.stack([plain]).dtype == np.uint8
    assert preprocessing.stack([]).shape == (0, SIDE, SIDE)
    grey = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    alone, mixed = preprocessing.stack([grey]), preprocessing.stack([grey, deep])
    images = [preprocessing.normalise(torch.from_numpy(batch))[0] for batch in (alone, mixed)]
    assert torch.equal(*images)


def test_sixteen_bits_are_shown_in_eight() -> None:
    """By the whole range: what people see of a patch is its grey value over 257."""
    shown = np.asarray(decode_grey(png(ramp()), "patch"))
    assert np.array_equal(shown, np.rint(ramp() / 257).astype(np.uint8))


def test_a_truncated_or_coloured_image_of_sixteen_bits_is_refused() -> None:
    """InvalidInput names the image; otherwise its lower bits would be lost silently."""
    with pytest.raises(InvalidInput, match="x is not a complete image"):
        decode_exact(png(ramp())[:-40], "x")
    with pytest.raises(InvalidInput, match="x has mode RGB of 16 bits; expected 8 bits, or grey"):
        decode_exact(rgb16(), "x")
    assert decode_exact(png(np.zeros((8, 8, 3), np.uint8)), "x").mode == "L"


def rgb16() -> bytes:
    """A 16-bit RGB PNG of one black pixel, which Pillow reads but cannot write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(7))) + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image of more than twice the pixels of the largest mammogram is named before it is decoded."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InvalidInput, match=r"x is not a complete image.*decompression bomb"):
        decode_exact(png(ramp()), "x")


def test_one_channel_is_one_channel() -> None:
    """One channel has one mean and one std; other numbers are refused."""
    preprocessing = Preprocessing(size=8, channels=1, mean=(0.5,), std=(0.25,))
    images = preprocessing.normalise(torch.full((2, 8, 8), 255, dtype=torch.uint8))
    assert images.shape == (2, 1, 8, 8)
    assert (images == 2.0).all()
    with pytest.raises(ValidationError, match="3 means and 3 stds; expected one per channel, 1"):
        Preprocessing(size=8, channels=1)


def test_a_manifest_from_before_there_were_channels_is_read() -> None:
    """A manifest without channels has three channels."""
    old = '{"size": 227, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}'
    assert Preprocessing.model_validate_json(old) == Preprocessing(size=227)
