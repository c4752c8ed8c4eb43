"""Decodes a DICOM mammogram to grey values with dense tissue bright."""

import io

import numpy as np
import pydicom

from services.common.errors import InvalidInput
from services.training.raw.pixels import Pixels, deep_grey


def decode_dicom(content: bytes, where: str) -> Pixels:
    """Decode the pixels of a DICOM file. InvalidInput names the file and what is wrong with it."""
    try:
        dataset = pydicom.dcmread(io.BytesIO(content))
        stored = np.asarray(dataset.pixel_array)
    except Exception as error:  # pydicom and its decoders raise many kinds for a damaged file
        raise InvalidInput(f"{where} is not a complete DICOM image: {error}") from error
    return Pixels(deep_grey(stored, where))
