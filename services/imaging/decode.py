"""From the bytes of an image to grey values. Knows no torch."""

import io

from PIL import Image

from services.common.errors import InvalidInput

# A full mammogram has about 15 million pixels. PIL refuses twice this number: a decompression bomb.
Image.MAX_IMAGE_PIXELS = 100_000_000
FORMATS = ("JPEG", "PNG")
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK")


def decode_grey(image: bytes, name: str) -> Image.Image:
    """The whole image in 8-bit grey. InvalidInput names an image that is truncated or no image at all."""
    try:
        picture = Image.open(io.BytesIO(image), formats=FORMATS)
        picture.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InvalidInput(f"{name} is no complete image: {error}") from error
    if picture.mode not in MODES:
        raise InvalidInput(f"{name} has mode {picture.mode}; expected an 8-bit image")
    return picture.convert("L")


def resize_grey(grey: Image.Image, size: int) -> Image.Image:
    """A grey image at `size` x `size`, bilinear as PIL does it, which is how the original resizes patches."""
    if grey.size == (size, size):
        return grey
    return grey.resize((size, size), Image.Resampling.BILINEAR)
