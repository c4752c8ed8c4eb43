"""Headers of the DICOM files of a source: short ones and long ones of large files."""

from pathlib import Path

import pytest
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from services.imaging.dicom.header import NotAMammogram
from services.training.raw.source.dicom_headers import HEAD, file_header
from services.training.raw.source.files import FolderFiles
from tests.fakes.raw.dicom import MAMMOGRAM_HEADER, TOMOSYNTHESIS, breast, file_bytes, mammogram


def test_only_the_beginning_of_a_file_is_read_for_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan over gigabytes reads kilobytes."""
    large = mammogram(breast(300, 200))
    assert len(file_bytes(large)) > HEAD
    (tmp_path / "a.dcm").write_bytes(file_bytes(large))
    files = FolderFiles(tmp_path)
    monkeypatch.setattr(FolderFiles, "read", None)
    assert file_header(files, "a.dcm", "a.dcm").rows == 300


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_a_long_header_is_read_in_full(tmp_path: Path, syntax: UID) -> None:
    """Tables or private data before the pixels may be longer than the beginning that is read first."""
    dataset = mammogram()
    dataset.add_new(0x00091001, "OB", bytes(range(256)) * (HEAD // 256 + 1))
    dataset.add_new(0x00090010, "LO", "VENDOR")
    (tmp_path / "a.dcm").write_bytes(file_bytes(dataset, syntax))
    assert file_header(FolderFiles(tmp_path), "a.dcm", "a.dcm") == MAMMOGRAM_HEADER


def test_a_long_header_of_another_kind_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tomosynthesis has long headers and large files: its beginning says what it is."""
    dataset = mammogram(SOPClassUID=TOMOSYNTHESIS)
    dataset.add_new(0x00091001, "OB", bytes(2 * HEAD))
    dataset.add_new(0x00090010, "LO", "VENDOR")
    (tmp_path / "a.dcm").write_bytes(file_bytes(dataset))
    files = FolderFiles(tmp_path)
    monkeypatch.setattr(FolderFiles, "read", None)
    with pytest.raises(NotAMammogram, match="tomosynthesis"):
        file_header(files, "a.dcm", "a.dcm")
