"""Decodes DDSM's `.LJPEG` files: lossless JPEG (process 14) as the Stanford program PVRG-JPEG wrote it.

PVRG-JPEG differs from the standard (ITU-T T.81, H.1.2.1) in the first row: there it uses the predictor of the scan with
a row above that is all mid-grey, where the standard uses the pixel to the left. Predictors 1, 4 and 5 give the same in
both; with 2, 3, 6 and 7 a decoder that keeps to the standard gives a wrong image without any error. For those, GDCM
decodes the scan as if its predictor were 1: that is a plain sum of the coded differences, so the differences can be
taken back from it, and the image is then predicted from them as PVRG-JPEG does.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import JPEGLosslessDecoder

from services.common.errors import InvalidInput
from services.training.raw.layouts.ddsm.ics import MOST_PIXELS

OTHERWISE = "decompress it with `jpeg -d -s` of PVRG-JPEG, as docs/import.md shows, and import the .LJPEG.1"
"""What to do with a file that cannot be decoded here."""

_START_OF_IMAGE, _END_OF_IMAGE = b"\xff\xd8", b"\xff\xd9"
_LOSSLESS, _SCAN = 0xC3, 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers that begin a frame; the other three between them are tables."""
_LEFT = 1
_SAME_IN_FIRST_ROW = (1, 4, 5)
_WORD = 0xFFFF


@dataclass(frozen=True)
class _Header:
    """Size and bits of a frame, the predictor of its scan, and the place of that predictor in the file."""

    height: int
    width: int
    bits: int
    predictor: int
    predictor_at: int


def decode_ljpeg(content: bytes, where: str) -> NDArray[np.uint16]:
    """Decode a lossless JPEG of one component to H x W grey values. InvalidInput names the file, what is wrong with it,
    and the other way to import it."""
    header = _header(content, where)
    if header.predictor in _SAME_IN_FIRST_ROW:
        grey = _decode(content, header, where)
    else:
        plain = bytearray(content)
        plain[header.predictor_at] = _LEFT
        grey = _predicted(
            _differences(_decode(bytes(plain), header, where), header.bits), header.predictor, header.bits
        )
    if grey.max() >> header.bits:  # GDCM decodes through damage; the sums of differences then leave their range
        raise InvalidInput(f"{where} is damaged: grey values have more than {header.bits} bits")
    return grey


def ljpeg_size(content: bytes, where: str) -> tuple[int, int]:
    """Height and width from the header of a lossless JPEG. InvalidInput as `decode_ljpeg`."""
    header = _header(content, where)
    return header.height, header.width


def _decode(content: bytes, header: _Header, where: str) -> NDArray[np.uint16]:
    """Decode by the standard, with GDCM. Values have 16 bits whatever the header says, since sums of differences do."""
    options: dict[str, Any] = {
        "rows": header.height,
        "columns": header.width,
        "bits_allocated": 16,
        "bits_stored": 16,
        "samples_per_pixel": 1,
        "number_of_frames": 1,
        "pixel_representation": 0,
        "photometric_interpretation": "MONOCHROME2",
        "pixel_keyword": "PixelData",
    }
    try:
        decoded, _ = JPEGLosslessDecoder.as_array(encapsulate([content]), raw=True, decoding_plugin="gdcm", **options)
    except Exception as error:  # GDCM and pydicom raise many kinds for a damaged file
        raise InvalidInput(f"{where} cannot be decoded ({error}); {OTHERWISE}") from error
    return np.asarray(decoded, dtype=np.uint16)


def _header(content: bytes, where: str) -> _Header:
    """Read the markers up to the scan. A file that does not end as a JPEG ends is incomplete."""
    frame: tuple[int, int, int] | None = None
    for marker, begin, length in _segments(content, where):
        segment = content[begin : begin + length]
        if marker in _FRAMES:
            frame = _frame(marker, segment, where)
        elif marker == _SCAN and frame is not None:
            if len(segment) != 8 or segment[2] != 1 or not 1 <= segment[5] <= 7:
                break
            height, width, bits = frame
            if not content.rstrip(b"\0\r\n").endswith(_END_OF_IMAGE) or 8 * len(content) < height * width:
                raise InvalidInput(f"{where} is incomplete: {len(content)} bytes for {height} x {width} pixels")
            return _Header(height, width, bits, segment[5], begin + 5)
    raise InvalidInput(f"{where} has no scan of a lossless JPEG; {OTHERWISE}")


def _frame(marker: int, segment: bytes, where: str) -> tuple[int, int, int]:
    """Height, width and bits of a frame."""
    if marker != _LOSSLESS or len(segment) != 11 or segment[7] != 1:
        raise InvalidInput(f"{where} is no lossless JPEG with one component; {OTHERWISE}")
    bits, height, width = segment[2], int.from_bytes(segment[3:5]), int.from_bytes(segment[5:7])
    if not 2 <= bits <= 16 or height == 0 or width == 0 or height * width > MOST_PIXELS:
        raise InvalidInput(f"{where} has {height} x {width} pixels of {bits} bits; expected 2 to 16 bits")
    return height, width, bits


def _segments(content: bytes, where: str) -> Iterator[tuple[int, int, int]]:
    """Marker, begin and length of each segment. The segment includes the two bytes of its length."""
    if not content.startswith(_START_OF_IMAGE):
        raise InvalidInput(f"{where} is no JPEG; {OTHERWISE}")
    place = 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4])
        if marker == 0xFF:  # bytes that fill up a file
            place += 1
            continue
        yield marker, place + 2, length
        place += 2 + length


def _differences(summed: NDArray[np.uint16], bits: int) -> NDArray[np.int32]:
    """The coded differences of a scan that was decoded with the pixel to the left as predictor, modulo 2^16."""
    values = summed.astype(np.int32)
    differences = np.empty_like(values)
    differences[:, 1:] = values[:, 1:] - values[:, :-1]
    differences[1:, 0] = values[1:, 0] - values[:-1, 0]
    differences[0, 0] = values[0, 0] - (1 << (bits - 1))
    return differences & _WORD


def _predicted(differences: NDArray[np.int32], predictor: int, bits: int) -> NDArray[np.uint16]:
    """The image of some differences, with the predictors of T.81 Table H.1 and the first row of PVRG-JPEG.

    The neighbours that a predictor needs lie on the two diagonals before the pixel's own, so a diagonal is computed at
    once. For that, each diagonal is a row of `skewed`: pixel (r, c) lies at (r + c, c), below a row of mid-grey.
    """
    height, width = differences.shape
    middle = 1 << (bits - 1)
    skewed = np.zeros((height + width, width), dtype=np.int32)
    row, item = skewed.strides
    image = as_strided(skewed, (height + 1, width), (row, row + item))
    image[0], image[1:] = middle, differences
    image[1:, 0] = (middle + np.cumsum(differences[:, 0])) & _WORD  # the first column: the pixel above
    for diagonal in range(2, height + width):
        here = slice(max(1, diagonal - height), min(width, diagonal))
        before = slice(here.start - 1, here.stop - 1)
        guess = _guess(
            predictor, skewed[diagonal - 1, before], skewed[diagonal - 1, here], skewed[diagonal - 2, before]
        )
        skewed[diagonal, here] = (skewed[diagonal, here] + guess) & _WORD
    return image[1:].astype(np.uint16)


def _guess(
    predictor: int, left: NDArray[np.int32], above: NDArray[np.int32], corner: NDArray[np.int32]
) -> NDArray[np.int32]:
    match predictor:
        case 2:
            return above
        case 3:
            return corner
        case 6:
            return above + ((left - corner) >> 1)
        case _:
            return (left + above) >> 1
