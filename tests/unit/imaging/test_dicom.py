"""Mammograms out of DICOM files, and their grey on a display."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, SecondaryCaptureImageStorage, generate_uid

from services.common.errors import InvalidInput
from services.imaging.dicom import display_grey, read_dicom

PIXELS = np.random.default_rng(5).integers(0, 65536, (40, 30)).astype(np.uint16)


def write_dicom(path: Path, rle: bool = True, **changes: object) -> Path:
    """A DICOM file of PIXELS as CBIS-DDSM would hold it, with some elements changed."""
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    dataset.PatientID = "Mass-Test_P_00173_LEFT_CC"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = *PIXELS.shape, 1
    dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelData = PIXELS.tobytes()
    if rle:
        dataset.compress(RLELossless, generate_instance_uid=False)
    for element, value in changes.items():
        setattr(dataset, element, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("rle", [True, False])
def test_read_dicom_returns_pixels_and_whose_they_are(tmp_path, rle):
    """The pixels come back bit for bit, with patient, side and view out of PatientID."""
    mammogram = read_dicom(write_dicom(tmp_path / "1.dcm", rle))
    assert mammogram.pixels.dtype == np.uint16
    np.testing.assert_array_equal(mammogram.pixels, PIXELS)
    assert (mammogram.patient, mammogram.side, mammogram.view) == ("P_00173", "LEFT", "CC")


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"PatientID": "Jane"}, "Jane"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "MONOCHROME1"),
        ({"NumberOfFrames": 2}, "2 frames"),
        ({"BitsAllocated": 8}, "8 bits"),
        ({"PixelRepresentation": 1}, "int16"),
        ({"PixelData": b"\x00\x00"}, "cannot be decoded"),
    ],
)
def test_unusable_dicoms_are_named(tmp_path, changes, found):
    """A file that is no 16-bit CBIS-DDSM mammogram raises InvalidInput with its path and what was found."""
    path = write_dicom(tmp_path / "odd.dcm", rle=False, **changes)
    with pytest.raises(InvalidInput, match=found) as raised:
        read_dicom(path)
    assert str(path) in str(raised.value)


def test_files_that_are_no_dicom_are_named(tmp_path):
    """Something else, an empty file and a missing file each raise InvalidInput with the path."""
    other, empty, missing = tmp_path / "other.dcm", tmp_path / "empty.dcm", tmp_path / "missing.dcm"
    other.write_bytes(b"\xff\xd8 a JPEG, say" * 20)
    empty.touch()
    for path in (other, empty, missing):
        with pytest.raises(InvalidInput, match=path.name):
            read_dicom(path)


def test_display_grey_is_a_linear_window_of_the_breast():
    """The breast's 0.5th percentile becomes 0 and its 99.5th 230, in between it is linear, and the rest is clipped."""
    pixels = np.linspace(0, 60000, 10000).astype(np.uint16).reshape(100, 100)
    breast = (pixels > 20000) & (pixels < 40000)
    grey = display_grey(pixels, breast)
    assert grey.dtype == np.uint8
    assert grey[pixels <= 20000].max() == 0
    assert grey[pixels >= 42500].min() == 255
    np.testing.assert_allclose(grey[breast], np.clip((pixels[breast] - 20100.0) * 230.0 / 19800.0, 0, 255), atol=1.0)


def test_display_grey_wants_a_breast_of_the_same_shape():
    """An empty mask and a mask of another shape raise InvalidInput."""
    with pytest.raises(InvalidInput, match="empty"):
        display_grey(PIXELS, np.zeros(PIXELS.shape, dtype=bool))
    with pytest.raises(InvalidInput, match="shape"):
        display_grey(PIXELS, np.ones((3, 3), dtype=bool))
