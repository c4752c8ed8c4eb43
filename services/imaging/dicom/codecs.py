"""Decodes the pixels of a DICOM file to the stored values, with one decoder for each transfer syntax.

The decoders were compared on a mammogram of 12.7 million pixels, 12 bits each; times are CPU seconds on one core.
Pillow is the fastest for the lossy JPEGs of 8 bits and for JPEG 2000; gdcm is the only one for the others that is not
under the GPL; `rle` bounds its output. All lossless syntaxes give the same values bit for bit
(tests/unit/imaging/dicom/test_codecs.py).

| syntax | decoder | s | another |
|---|---|---|---|
| JPEG, 8 bits | pillow | 0.06 | gdcm 0.36 |
| JPEG 2000 | pillow | 1.25 | gdcm 1.63, pylibjpeg-openjpeg 1.09 |
| JPEG lossless | gdcm | 0.51 | |
| JPEG-LS | gdcm | 0.41 | |
| RLE | `rle` | 0.37 | pydicom 0.36, gdcm 0.82, pylibjpeg-rle 0.06 |

gdcm also decodes JPEG of 12 bits (process 4). pydicom does not let it, so `_gdcm_frame` calls it directly.
"""

from typing import Any

import gdcm
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from services.common.errors import InvalidInput
from services.imaging.dicom.attributes import whole_of
from services.imaging.dicom.coded_size import coded_size
from services.imaging.dicom.rle import decode_rle

DECODERS: dict[UID, str] = {
    ImplicitVRLittleEndian: "",
    ExplicitVRLittleEndian: "",
    ExplicitVRBigEndian: "",
    DeflatedExplicitVRLittleEndian: "",
    RLELossless: "",
    JPEGBaseline8Bit: "pillow",
    JPEGExtended12Bit: "pillow",
    JPEGLossless: "gdcm",
    JPEGLosslessSV1: "gdcm",
    JPEGLSLossless: "gdcm",
    JPEGLSNearLossless: "gdcm",
    JPEG2000Lossless: "pillow",
    JPEG2000: "pillow",
}
"""pydicom's plugin for each transfer syntax that is read, empty if none is needed."""
SIGN_CORRECTED = frozenset({JPEG2000, JPEG2000Lossless, JPEGLSLossless, JPEGLSNearLossless})
"""Syntaxes whose signed values pydicom restores from the bits of the stream."""


def stored_values(dataset: Dataset, where: str) -> NDArray[np.integer[Any]]:
    """The stored values of a single grey frame: rows x columns of (u)int8 or (u)int16, in the machine's byte order.

    Bits above BitsStored stay as they are. InvalidInput if the pixels are incomplete, of another depth, in a syntax
    that is not read, or if a compressed stream states another size than the data set.
    """
    syntax = _syntax(dataset, where)
    allocated, stored = whole_of(dataset, "BitsAllocated"), whole_of(dataset, "BitsStored")
    if allocated not in (8, 16) or stored is None or not 0 < stored <= allocated:
        raise InvalidInput(
            f"{where} has {stored} of {allocated} bits in a pixel; expected at most 16, stored in 8 or 16"
        )
    try:
        if syntax.is_encapsulated:
            values = _decompressed(dataset, syntax, where)
        else:
            values = _as_array(dataset, syntax, keep_unused_bits=True)
    except InvalidInput:
        raise
    except Exception as error:  # pydicom and the decoders raise many kinds for damaged pixels
        raise InvalidInput(f"the pixels of {where} cannot be decoded ({type(error).__name__})") from None
    if values.shape != (dataset.Rows, dataset.Columns):
        raise InvalidInput(f"{where} has pixels of shape {values.shape}; expected {dataset.Rows} x {dataset.Columns}")
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))


def _syntax(dataset: Dataset, where: str) -> UID:
    syntax = UID(str(dataset.file_meta.get("TransferSyntaxUID", "")))
    if syntax in DECODERS:
        return syntax
    named = syntax.name if syntax.is_transfer_syntax else "an unknown transfer syntax"
    raise InvalidInput(f"{where} is in {named}, which is not read")


def _decompressed(dataset: Dataset, syntax: UID, where: str) -> NDArray[np.integer[Any]]:
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    if syntax == RLELossless:
        values = decode_rle(frame, dataset.Rows, dataset.Columns, dataset.BitsAllocated, where)
        return values.view(np.dtype(f"i{values.itemsize}")) if dataset.PixelRepresentation else values
    bits = _checked_bits(frame, dataset, where)
    if syntax == JPEGExtended12Bit and bits > 8:
        return _gdcm_frame(frame, dataset, syntax)
    return _as_array(dataset, syntax, syntax not in SIGN_CORRECTED)


def _as_array(dataset: Dataset, syntax: UID, keep_unused_bits: bool) -> NDArray[np.integer[Any]]:
    decode: Any = get_decoder(syntax).as_array  # its annotations take options for arrays only as a whole
    options = {"correct_unused_bits": False} if keep_unused_bits else {}
    values, _ = decode(dataset, raw=True, decoding_plugin=DECODERS[syntax], **options)
    return np.asarray(values)


def _checked_bits(frame: bytes, dataset: Dataset, where: str) -> int:
    """The bits of a sample in a compressed stream, whose size must be the one of the data set. InvalidInput otherwise:
    a decoder would write, or allocate, by the stream's own size."""
    size = coded_size(frame)
    if size is None:
        raise InvalidInput(f"{where} has pixels without the header of their compression")
    expected = (dataset.Rows, dataset.Columns)
    if (size.rows, size.columns) != expected or size.samples != 1 or not 0 < size.bits <= dataset.BitsAllocated:
        raise InvalidInput(
            f"{where} has a compressed image of {size.rows} x {size.columns} pixels, {size.samples} samples of "
            f"{size.bits} bits; expected {expected[0]} x {expected[1]}, 1 sample of at most {dataset.BitsAllocated}"
        )
    return size.bits


def _gdcm_frame(frame: bytes, dataset: Dataset, syntax: UID) -> NDArray[np.uint16]:
    """Decode a frame with gdcm. ValueError if it returns another number of bytes than the image has."""
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((dataset.Columns, dataset.Rows, 1))
    image.SetDataElement(element)
    grey = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2")
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(grey))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, dataset.BitsStored, dataset.BitsStored - 1, 0))
    content = image.GetBuffer().encode("utf-8", "surrogateescape")
    return np.frombuffer(content, dtype="<u2").reshape(dataset.Rows, dataset.Columns)
