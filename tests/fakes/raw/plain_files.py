"""Writes the files that fake sources consist of: DICOM, PNG and JPEG mammograms, CSV tables and workbooks."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import openpyxl
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.2"
Table = Sequence[Sequence[object]]
"""Lines of a table, the column names first."""


def grey_image(seed: int, height: int = 60, width: int = 40, bits: int = 8) -> NDArray[np.uint16]:
    """A breast-like image: a bright half-disc with noise at the left edge."""
    rows, columns = np.mgrid[:height, :width]
    inside = ((rows - height / 2) / (height / 2)) ** 2 + (columns / (0.8 * width)) ** 2 < 1
    noise = np.random.default_rng(seed).integers(0, 1 << (bits - 2), (height, width))
    grey: NDArray[np.uint16] = (inside * ((1 << (bits - 1)) + noise)).astype(np.uint16)
    return grey


def inverted(grey: NDArray[np.uint16], bits: int) -> NDArray[np.uint16]:
    """The stored values of an image of MONOCHROME1, in which 0 is white."""
    stored: NDArray[np.uint16] = ((1 << bits) - 1 - grey).astype(np.uint16)
    return stored


def write_dicom(path: Path, grey: NDArray[np.uint16], bits: int = 8, view_code: str = "", **fields: object) -> None:
    """Write an uncompressed DICOM mammogram of 8 or 16 stored bits, with further fields by keyword."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = FOR_PRESENTATION, generate_uid(entropy_srcs=[path.as_posix()])
    dataset.Modality, dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "MG", "MONOCHROME2", 1
    dataset.Rows, dataset.Columns = grey.shape
    dataset.BitsAllocated = 8 if bits <= 8 else 16
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, 0
    dataset.PixelData = grey.astype(np.uint8 if bits <= 8 else "<u2").tobytes()
    if view_code:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator = view_code, "SCT"
        dataset.ViewCodeSequence = DicomSequence([code])
    for field, value in fields.items():
        setattr(dataset, field, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def write_picture(path: Path, grey: NDArray[np.uint16]) -> None:
    """Write an 8-bit picture in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grey.astype(np.uint8)).save(path)


def write_csv(path: Path, table: Table, delimiter: str = ",", encoding: str = "utf-8") -> None:
    """Write a CSV table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter).writerows(table)


def write_workbook(path: Path, sheets: Mapping[str, Table]) -> None:
    """Write an Excel workbook."""
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for name, table in sheets.items():
        sheet = book.create_sheet(name)
        for line in table:
            sheet.append(list(line))
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)
