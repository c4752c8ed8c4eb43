"""Decode images to grey values, without torch."""

import io

import numpy as np
from PIL import Image

from services.common.errors import InvalidInput

MOST_PIXELS = 100_000_000
"""Most pixels of an image that is imported. A full mammogram has about 15 million."""
Image.MAX_IMAGE_PIXELS = MOST_PIXELS  # PIL refuses images of twice this size: decompression bombs
LARGEST_IMAGE = 256 << 20
"""Most bytes of an encoded image that is imported. A 16-bit PNG with the most pixels fits."""
FORMATS = ("JPEG", "PNG")
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK")
DEEP = "I;16"
PNG = b"\x89PNG"
"""The first bytes of a PNG."""
_PNG_DEPTH = 24
"""Offset of the number of bits per channel in a PNG."""
_MARKER, _BASELINE, _TABLES, _APPLICATIONS, _COMMENT = 0xFF, 0xC0, (0xC4, 0xDB, 0xDD), range(0xE0, 0xF0), 0xFE
"""In a JPEG: the first byte of every segment, and the kinds of segments that may come before the frame and at it."""
_NOT_SUBSAMPLED = 0x11
LARGEST_SIDE = 8192
"""Largest side in pixels of a patch that is decoded together with others."""


def decode_grey(image: bytes, name: str) -> Image.Image:
    """Decode a complete image to 8-bit grey. The full 16-bit range is mapped to 8 bits: 65535 is white. InvalidInput as
    `decode_exact`."""
    picture = decode_exact(image, name)
    if picture.mode != DEEP:
        return picture
    return Image.fromarray(((np.asarray(picture).astype(np.uint32) + 128) // 257).astype(np.uint8))


def decode_exact(image: bytes, name: str) -> Image.Image:
    """Decode a complete image to grey: a grey 16-bit PNG to 16 bits (mode I;16), all others to 8 bits (mode L).
    InvalidInput names an image that is truncated, too large, in 16-bit colour, or not an image at all."""
    try:
        picture = Image.open(io.BytesIO(image), formats=FORMATS)
        picture.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InvalidInput(f"{name} is not a complete image: {error}") from error
    if picture.mode == DEEP:
        return picture
    deep = picture.format == "PNG" and image[_PNG_DEPTH] == 16
    if deep or picture.mode not in MODES:
        raise InvalidInput(f"{name} has mode {picture.mode}{' of 16 bits' if deep else ''}; expected 8 bits, or grey")
    return picture.convert("L")


def resize_grey(grey: Image.Image, size: int) -> Image.Image:
    """Resize a grey image of 8 or 16 bits to `size` x `size` with PIL's bilinear filter, as the original does."""
    if grey.size == (size, size):
        return grey
    return grey.resize((size, size), Image.Resampling.BILINEAR)


def plain_jpeg_side(image: bytes) -> int | None:
    """Return the side in pixels of a complete, square baseline JPEG with one 8-bit channel, from its header. Return
    None for any other image."""
    if not (image.startswith(b"\xff\xd8") and image.endswith(b"\xff\xd9")):
        return None
    place = 2
    while place + 12 <= len(image) and image[place] == _MARKER:
        kind = image[place + 1]
        if kind == _BASELINE:
            bits, channels = image[place + 4], image[place + 9]
            height, width = (int.from_bytes(image[place + at : place + at + 2], "big") for at in (5, 7))
            plain = bits == 8 and channels == 1 and image[place + 11] == _NOT_SUBSAMPLED
            return height if plain and 0 < height == width <= LARGEST_SIDE else None
        if not (kind in _TABLES or kind in _APPLICATIONS or kind == _COMMENT):
            return None
        place += 2 + int.from_bytes(image[place + 2 : place + 4], "big")
    return None
