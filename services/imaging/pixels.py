"""Decodes the pixels of a mammogram, of whatever kind its file is: DICOM, PNG, JPEG, TIFF or PGM."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from services.common.errors import InvalidInput

PICTURES = ("PNG", "JPEG", "TIFF", "PPM")
"""Kinds of pictures that are read; PPM is PIL's name for PGM."""
DEEP_MODES = ("I;16", "I;16B", "I;16L", "I")
"""Modes of PIL with grey values of more than 8 bits."""
SHALLOW_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
DICOM_MARK = slice(128, 132)

Window = tuple[float, float]
"""Two grey values: those at or below the first are shown black, those at or above the second white."""


@dataclass(frozen=True)
class Pixels:
    """Grey values of a mammogram: H x W of uint8 or uint16, with dense tissue bright.

    `spacing` is the side of a pixel in millimetres, 0 if it is unknown. `burned_in` is true if the image contains text,
    as its file says or as `burned_in` finds. `notes` are repairs and doubts for the report, without anything that
    identifies a patient. `window` are the grey values that the file wants shown as black and as white.
    """

    grey: NDArray[np.uint8] | NDArray[np.uint16]
    spacing: float = 0.0
    burned_in: bool = False
    notes: tuple[str, ...] = ()
    window: Window | None = None


def decode_pixels(content: bytes, where: str) -> Pixels:
    """Decode a file by its content. InvalidInput names the file if it is incomplete, in colour of 16 bits, too large,
    or of another kind."""
    if content[DICOM_MARK] == b"DICM":
        from services.imaging.dicom.file import decode_dicom  # it imports this module

        return decode_dicom(content, where)
    return Pixels(decode_picture(content, where))


def eight_bits(pixels: Pixels) -> NDArray[np.uint8]:
    """Grey values of 8 bits, through the window of the file if it has one."""
    if pixels.grey.dtype == np.uint8 and pixels.window is None:
        return np.asarray(pixels.grey, dtype=np.uint8)
    low, high = pixels.window or (0.0, 65535.0)
    scaled = (pixels.grey.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    return np.asarray(np.clip(np.rint(scaled), 0, 255), dtype=np.uint8)


def decode_picture(content: bytes, where: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Decode a PNG, JPEG, TIFF or PGM to H x W grey values of 8 or 16 bits. Colours become grey."""
    try:
        picture = Image.open(io.BytesIO(content), formats=PICTURES)
        picture.load()
    except UnidentifiedImageError as error:  # its message contains an address in memory
        raise InvalidInput(f"{where} is not a complete image: its kind is none of {', '.join(PICTURES)}") from error
    except (OSError, SyntaxError, ValueError, TypeError, Image.DecompressionBombError) as error:
        raise InvalidInput(f"{where} is not a complete image: {error}") from error
    if picture.mode in SHALLOW_MODES:
        return np.asarray(picture.convert("L"))
    if picture.mode in DEEP_MODES:
        return deep_grey(np.asarray(picture), where)
    raise InvalidInput(f"{where} has mode {picture.mode}; expected grey, or colour of 8 bits")


def deep_grey(values: NDArray[np.generic], where: str) -> NDArray[np.uint16]:
    """Grey values as uint16. InvalidInput if they do not fit."""
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise InvalidInput(f"{where} has grey values of {values.min()} to {values.max()}; expected 0 to 65535")
    return values.astype(np.uint16)
