"""Read 16-bit mammograms of CBIS-DDSM from DICOM, and map them to 8-bit grey for display, storage and training."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

from services.common.errors import InvalidInput
from services.common.redaction import quoted

_CBIS_PATIENT = re.compile(r"(?P<patient>P_\d+)_(?P<side>LEFT|RIGHT)_(?P<view>CC|MLO)")
_DARKEST, _BRIGHTEST = 0.5, 99.5  # percentiles of breast tissue at the ends of the display window
_WHITE_OF_TISSUE = 230.0  # grey at the bright end: things denser than tissue (calcium, clips) stay brighter


@dataclass(frozen=True)
class DicomMammogram:
    """A mammogram from a DICOM file: H x W uint16 pixels with bright dense tissue, and patient, side and view."""

    pixels: NDArray[np.uint16]
    patient: str
    side: str
    view: str


def read_dicom(path: Path) -> DicomMammogram:
    """Read a 16-bit MONOCHROME2 mammogram of CBIS-DDSM, uncompressed or RLE.

    CBIS-DDSM has the side only in PatientID (`Mass-Test_P_00173_LEFT_CC`), so patient, side and view come from there.
    InvalidInput for any other file.
    """
    try:
        dataset = pydicom.dcmread(path)
    except FileNotFoundError as error:
        raise InvalidInput(f"DICOM file {path} does not exist") from error
    except (InvalidDicomError, OSError, EOFError) as error:
        raise InvalidInput(f"{path} is not a DICOM file: {error}") from error
    found = _CBIS_PATIENT.search(str(dataset.get("PatientID", "")))
    if found is None:
        raise InvalidInput(
            f"{path} has PatientID {quoted(dataset.get('PatientID', ''))}; expected one that ends in "
            "P_<number>_<SIDE>_<VIEW>"
        )
    return DicomMammogram(_pixels_of(dataset, path), found["patient"], found["side"], found["view"])


def _pixels_of(dataset: pydicom.Dataset, path: Path) -> NDArray[np.uint16]:
    kind = (dataset.get("PhotometricInterpretation"), dataset.get("BitsAllocated"), dataset.get("NumberOfFrames", 1))
    if kind != ("MONOCHROME2", 16, 1):
        raise InvalidInput(f"{path} is {kind[0]} of {kind[1]} bits, {kind[2]} frames; expected MONOCHROME2, 16 bits, 1")
    try:
        pixels = dataset.pixel_array
    except Exception as error:  # pydicom's decoders raise many kinds: AttributeError, ValueError, RuntimeError
        raise InvalidInput(f"the pixels of {path} cannot be decoded: {error}") from error
    if pixels.ndim != 2 or pixels.dtype != np.uint16:
        raise InvalidInput(f"{path} has {pixels.dtype} pixels of shape {pixels.shape}; expected uint16 of H x W")
    return np.asarray(pixels, dtype=np.uint16)


def display_grey(pixels: NDArray[np.uint16], breast: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Map H x W 16-bit pixels to 8-bit grey through one linear window that the tissue of the breast defines.

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
