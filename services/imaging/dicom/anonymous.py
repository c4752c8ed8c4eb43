"""Writes a DICOM mammogram again with its pixels, the numbers that are needed to read them, and words of known sets
alone: no text of the file is carried over as it stands."""

import hashlib
import io
import math
from collections.abc import Iterable

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from services.common.errors import InvalidInput
from services.imaging.dicom.attributes import text_of, texts_of, values_of
from services.imaging.dicom.file import parse_with_pixels
from services.imaging.dicom.header import DicomHeader, header_of
from services.imaging.dicom.identity import OVERLAY_BIT

NUMBERS = (
    "NumberOfFrames",
    "SamplesPerPixel",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PlanarConfiguration",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "PixelIntensityRelationshipSign",
    "RescaleSlope",
    "RescaleIntercept",
    "WindowCenter",
    "WindowWidth",
    "ImagerPixelSpacing",
    "PixelSpacing",
    "NominalScannedPixelSpacing",
)
WORDS = {
    "Modality": ("MG",),
    "PhotometricInterpretation": ("MONOCHROME1", "MONOCHROME2"),
    "PixelIntensityRelationship": ("LIN", "LOG", "DISP"),
    "PresentationLUTShape": ("IDENTITY", "INVERSE"),
    "VOILUTFunction": ("LINEAR", "LINEAR_EXACT", "SIGMOID"),
    "BurnedInAnnotation": ("YES", "NO"),
    "BreastImplantPresent": ("YES", "NO"),
    "PresentationIntentType": ("FOR PRESENTATION", "FOR PROCESSING"),
}
"""Attributes with one of a few words. Any other value is left out."""
TABLES = ("ModalityLUTSequence", "VOILUTSequence")
TABLE_PARTS = ("LUTDescriptor", "LUTData")
IMAGE_CLASSES = "1.2.840.10008.5.1.4.1.1."
"""How the storage classes of the standard begin."""
GENERATED = "GENERATED_2D"
SIDES = {"LEFT": "L", "RIGHT": "R"}


def dicom_without_identity(content: bytes, where: str) -> bytes:
    """The file again, in its own transfer syntax. Two files with the same content give the same bytes.

    NotAMammogram for other kinds of DICOM, and InvalidInput for a file that is damaged.
    """
    read = parse_with_pixels(content, where)
    syntax = read.file_meta.TransferSyntaxUID
    written = _needed(read, header_of(read, where), content)
    written.file_meta = FileMetaDataset()
    written.file_meta.TransferSyntaxUID = syntax
    written.file_meta.MediaStorageSOPClassUID = written.SOPClassUID
    written.file_meta.MediaStorageSOPInstanceUID = written.SOPInstanceUID
    buffer = io.BytesIO()
    try:
        written.save_as(
            buffer,
            enforce_file_format=True,
            implicit_vr=syntax.is_implicit_VR,
            little_endian=syntax.is_little_endian,
        )
    except Exception as error:  # pydicom raises many kinds for values that it cannot write, and quotes them
        raise InvalidInput(f"{where} is not a complete DICOM file ({type(error).__name__})") from None
    return buffer.getvalue()


def _needed(read: Dataset, header: DicomHeader, content: bytes) -> Dataset:
    written = Dataset()
    for keyword in NUMBERS:
        if _is_numeric(read, keyword):
            _copy(read, written, keyword)
    for keyword, words in WORDS.items():
        if (word := text_of(read, keyword)) in words:
            setattr(written, keyword, word)
    for keyword in TABLES:
        if keyword in read:
            setattr(written, keyword, Sequence(_tables(read[keyword].value)))
    if OVERLAY_BIT in read:
        written[OVERLAY_BIT] = read[OVERLAY_BIT]
    class_ = text_of(read, "SOPClassUID")
    written.SOPClassUID = UID(class_ if class_.startswith(IMAGE_CLASSES) else f"{IMAGE_CLASSES}1.2")
    written.SOPInstanceUID = UID(f"2.25.{int.from_bytes(hashlib.sha256(content).digest()[:16], 'big')}")
    if GENERATED in texts_of(read, "ImageType"):
        written.ImageType = ["DERIVED", "PRIMARY", GENERATED]
    if header.side:
        written.ImageLaterality = SIDES[header.side]
    if header.view:
        written.ViewPosition = header.view
    written.PatientID = written.StudyInstanceUID = ""
    _copy(read, written, "PixelData")
    return written


def _tables(items: Iterable[Dataset]) -> list[Dataset]:
    tables = []
    for item in items:
        table = Dataset()
        for keyword in TABLE_PARTS:
            _copy(item, table, keyword)
        tables.append(table)
    return tables


def _is_numeric(read: Dataset, keyword: str) -> bool:
    """Whether all values of an attribute are numbers: a damaged file may have text in their place."""
    try:
        return all(math.isfinite(float(str(value))) for value in values_of(read, keyword))
    except ValueError:
        return False


def _copy(read: Dataset, written: Dataset, keyword: str) -> None:
    if keyword in read:
        written[keyword] = read[keyword]
