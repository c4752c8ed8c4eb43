"""Many patches decoded with torch, compared with each patch decoded by PIL."""

import io
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from services.imaging import batch_decode
from services.imaging.batch_decode import BatchDecoder, resize_as_pil
from services.imaging.decode import decode_grey, plain_jpeg_side, resize_grey

CPU = torch.device("cpu")


def tissue(side: int, seed: int = 0, wider: int = 0) -> NDArray[np.uint8]:
    """Return grey values with smooth and sharp parts."""
    generator = np.random.default_rng(seed)
    smooth = np.linspace(0, 200, side)[:, None] + generator.normal(0, 20, (side, side + wider))
    smooth[side // 3 : side // 2, side // 3 :] = 255
    return smooth.clip(0, 255).astype(np.uint8)


def encoded(grey: NDArray[np.uint8], format: str = "JPEG", mode: str = "L", **options: object) -> bytes:
    """Encode an image file."""
    file = io.BytesIO()
    Image.fromarray(grey).convert(mode).save(file, format, **options)
    return file.getvalue()


def one_by_one(images: Sequence[bytes], size: int) -> NDArray[np.uint8]:
    """Decode each image with PIL, as the expected result."""
    return np.stack([np.asarray(resize_grey(decode_grey(image, "x"), size)) for image in images])


@settings(max_examples=150, deadline=None)
@given(
    source=st.integers(1, 300),
    target=st.integers(1, 300),
    seed=st.integers(0, 1000),
    extremes=st.booleans(),
)
def test_resizing_is_pils_to_the_bit(source: int, target: int, seed: int, extremes: bool) -> None:
    """Enlarging and shrinking by any factor give PIL's pixels."""
    grey = np.random.default_rng(seed).integers(0, 256, (2, source, source), dtype=np.uint8)
    if extremes:
        grey = np.where(grey > 127, np.uint8(255), np.uint8(0))
    expected = np.stack([np.asarray(resize_grey(Image.fromarray(one), target)) for one in grey])
    assert np.array_equal(resize_as_pil(torch.from_numpy(grey), target).numpy(), expected)


def test_patches_of_any_size_and_quality_equal_pils(monkeypatch: pytest.MonkeyPatch) -> None:
    """The patches stay in order, however few are decoded at a time."""
    sides = [63, 96, 63, 40, 64, 63]
    images = [encoded(tissue(side, seed), quality=60 + 8 * seed) for seed, side in enumerate(sides)]
    expected = one_by_one(images, 64)
    for pixels in (1 << 26, 5000):
        monkeypatch.setattr(batch_decode, "PIXELS_AT_ONCE", pixels)
        found = BatchDecoder(64, CPU).decode(images)
        assert found is not None
        assert np.array_equal(found.numpy(), expected)


PLAIN = encoded(tissue(48))


@pytest.mark.parametrize(
    "other",
    [
        encoded(tissue(48), mode="RGB"),
        encoded(tissue(48), progressive=True),
        encoded(tissue(48), "PNG"),
        encoded(tissue(48, wider=16)),
        PLAIN[:-2],
        PLAIN[: len(PLAIN) // 2],
        PLAIN[:12],
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff\xe0\x00\x00\xff\xd9",
        b"",
        b"no image",
    ],
    ids=[
        "colour",
        "progressive",
        "png",
        "oblong",
        "no end",
        "half",
        "header",
        "bare",
        "no length",
        "empty",
        "text",
    ],
)
def test_an_image_that_is_not_a_plain_grey_jpeg_is_left_to_pil(other: bytes) -> None:
    """decode returns None for a batch with one such image, so that the caller decodes one by one."""
    assert plain_jpeg_side(PLAIN) == 48
    assert plain_jpeg_side(other) is None
    assert BatchDecoder(32, CPU).decode([PLAIN, other]) is None


def test_comments_and_tables_may_come_before_the_frame() -> None:
    """Other segments of the header are skipped."""
    image = encoded(tissue(20), comment=b"x" * 300, exif=b"Exif\0\0" + b"y" * 90, restart_marker_blocks=2)
    assert plain_jpeg_side(image) == 20


DAMAGED_AT = PLAIN.index(b"\xff\xc4") + 5
DAMAGED = PLAIN[:DAMAGED_AT] + b"\xff" * 30 + PLAIN[DAMAGED_AT + 30 :]
"""Its first Huffman table is invalid."""


def test_a_damaged_image_leaves_its_batch_to_pil() -> None:
    """decode returns None for a batch that the decoder refuses, and decodes the next batch."""
    assert plain_jpeg_side(DAMAGED) == 48
    decoder = BatchDecoder(32, CPU)
    assert decoder.decode([PLAIN]) is not None
    assert decoder.decode([PLAIN, DAMAGED]) is None
    assert decoder.decode([PLAIN]) is not None


def test_a_decoder_that_fails_at_first_is_not_used() -> None:
    """A torchvision that cannot decode on this device is used only once."""
    decoder = BatchDecoder(32, CPU)
    assert decoder.decode([DAMAGED]) is None
    assert decoder.decode([PLAIN]) is None


@pytest.mark.parametrize("first", [PLAIN, encoded(np.zeros((48, 48), np.uint8))], ids=["tissue", "black"])
def test_a_decoder_that_differs_from_pil_is_not_used(monkeypatch: pytest.MonkeyPatch, first: bytes) -> None:
    """If the first image with more than one grey value differs in any pixel, PIL decodes everything from then on."""
    decode = batch_decode.decode_jpeg

    def spoilt(*given: object) -> torch.Tensor:
        grey = decode(*given)
        return grey if grey.min() == grey.max() else grey ^ 1

    monkeypatch.setattr(batch_decode, "decode_jpeg", spoilt)
    decoder = BatchDecoder(32, CPU)
    assert (decoder.decode([first]) is None) == (first is PLAIN)
    assert decoder.decode([PLAIN]) is None
    monkeypatch.setattr(batch_decode, "decode_jpeg", decode)
    assert decoder.decode([PLAIN]) is None


def test_every_side_is_compared_with_pil(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that is right for one side may be wrong for another."""
    decode = batch_decode.decode_jpeg

    def spoilt(*given: object) -> torch.Tensor:
        grey = decode(*given)
        return grey ^ 1 if grey.shape[-1] == 40 else grey

    monkeypatch.setattr(batch_decode, "decode_jpeg", spoilt)
    decoder = BatchDecoder(32, CPU)
    assert decoder.decode([PLAIN]) is not None
    assert decoder.decode([encoded(tissue(40))]) is None


def test_a_frame_that_declares_subsampling_is_left_to_pil() -> None:
    """Subsampling has no meaning for one channel, and decoders treat it differently."""
    frame = PLAIN.index(b"\xff\xc0")
    assert plain_jpeg_side(PLAIN[: frame + 11] + b"\x22" + PLAIN[frame + 12 :]) is None
    assert plain_jpeg_side(PLAIN[:2] + b"\xff\xf3\x00\x02" + PLAIN[2:]) is None
