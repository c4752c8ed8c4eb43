"""DICOM files that tests make: mammograms with chosen attributes, in any transfer syntax."""

import io
import tempfile
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
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
    RLELossless,
)

from services.imaging.dicom.header import DicomHeader, Intent

FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.2"
TOMOSYNTHESIS = "1.2.840.10008.5.1.4.1.1.13.1.3"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
PLAIN = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
LOSSLESS = (RLELossless, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless)
LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit)
MAMMOGRAM_HEADER = DicomHeader(
    patient_id="P1",
    study_uid="1.2.3",
    sop_uid="1.2.3.4",
    side="LEFT",
    view="CC",
    manufacturer="",
    intent=Intent.PRESENTATION,
    rows=80,
    columns=60,
    bits=12,
    photometric="MONOCHROME2",
    spacing=0.07,
    burned_in=False,
    implant=None,
    secondary_capture=False,
    notes=(),
    position_notes=(),
)
"""The header of `mammogram()`."""


def breast(height: int = 80, width: int = 60, bits: int = 12, seed: int = 0) -> NDArray[np.uint16]:
    """A half disc of tissue at the left edge, with noise, on black: H x W values of some bits."""
    rows, columns = np.mgrid[:height, :width]
    distance = np.hypot((rows - height / 2) / (height * 0.45), columns / (width * 0.7))
    noise = np.random.default_rng(seed).uniform(0.75, 1, (height, width))
    tissue = np.where(distance < 1, (1 - 0.6 * distance) * noise, 0)
    return np.asarray(np.rint(tissue * ((1 << bits) - 1)), dtype=np.uint16)


def mammogram(pixels: NDArray[Any] | None = None, bits: int = 12, **attributes: Any) -> Dataset:
    """A For Presentation mammogram of the left breast, CC. Attributes replace or, if None, remove its own."""
    pixels = breast(bits=bits) if pixels is None else pixels
    dataset = Dataset()
    own = {
        "SOPClassUID": FOR_PRESENTATION,
        "SOPInstanceUID": "1.2.3.4",
        "StudyInstanceUID": "1.2.3",
        "PatientID": "P1",
        "Modality": "MG",
        "PresentationIntentType": "FOR PRESENTATION",
        "ImageLaterality": "L",
        "ViewPosition": "CC",
        "ImagerPixelSpacing": [0.07, 0.07],
        "BurnedInAnnotation": "NO",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": 8 * pixels.dtype.itemsize,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelData": pixels.tobytes(),
    }
    for keyword, value in {**own, **attributes}.items():
        if value is not None:
            setattr(dataset, keyword, value)
    return dataset


def coded(value: str, **nested: Sequence) -> Dataset:
    """An item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", "meaning"
    for keyword, sequence in nested.items():
        setattr(item, keyword, sequence)
    return item


def file_bytes(dataset: Dataset, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """The data set as a file in a transfer syntax."""
    plain = syntax if syntax in PLAIN else ExplicitVRLittleEndian
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = plain
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", FOR_PRESENTATION)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", "1.2.3.4")
    stored = Dataset(dataset)
    stored.file_meta = dataset.file_meta
    if plain == ExplicitVRBigEndian and dataset.get("BitsAllocated") == 16 and "PixelData" in dataset:
        stored.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    if "PixelData" in stored:
        stored["PixelData"].VR = "OB" if dataset.BitsAllocated == 8 and not plain.is_implicit_VR else "OW"
    buffer = io.BytesIO()
    stored.save_as(
        buffer, enforce_file_format=True, implicit_vr=plain.is_implicit_VR, little_endian=plain.is_little_endian
    )
    return buffer.getvalue() if plain == syntax else compressed(buffer.getvalue(), syntax)


def compressed(content: bytes, syntax: UID) -> bytes:
    """A plain file with its pixels compressed by gdcm, which reads and writes files."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "plain.dcm", Path(folder) / "compressed.dcm"
        source.write_bytes(content)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(source))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
        change.SetInput(reader.GetImage())
        assert change.Change(), f"gdcm cannot write {syntax.name}"
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(target))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return target.read_bytes()
