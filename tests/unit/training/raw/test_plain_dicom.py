"""The layout of plain DICOM: what is imported, labelled, dropped and flagged, and why."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from services.common.errors import InvalidInput
from services.imaging.dicom import header as dicom_header
from services.imaging.dicom import position as dicom_position
from services.imaging.geometry import box_outline
from services.training.raw import label_rows
from services.training.raw.case import Finding, Label, LabelSource, LabelUnit, Outcome, RawMammogram
from services.training.raw.cutting.prepare import Preparer
from services.training.raw.cutting.recipe import CutRecipe
from services.training.raw.layouts import dicom, layout_named
from services.training.raw.layouts.dicom import PlainDicom
from services.training.raw.report import ImportReport, Reason
from services.training.raw.source import tables
from services.training.raw.source.files import FolderFiles
from tests.fakes.raw.dicom import breast, file_bytes, mammogram
from tests.fakes.raw.plain_dicom import BOX, image, write_plain_dicom

PATHOLOGY = LabelSource.PATHOLOGY
MALIGNANT, BENIGN = Outcome.MALIGNANT, Outcome.BENIGN


@pytest.fixture
def scanned(tmp_path: Path) -> tuple[dict[str, RawMammogram], ImportReport]:
    """The mammograms of the source by the names of their files, and the report."""
    write_plain_dicom(tmp_path)
    report = ImportReport()
    found = list(PlainDicom().scan(FolderFiles(tmp_path), report))
    return {mammogram.file: mammogram for mammogram in found}, report


def counts(reasons: dict[str, Reason]) -> dict[str, int]:
    """The counts by reason."""
    return {text: reason.count for text, reason in reasons.items()}


def test_kept_dropped_and_flagged(scanned: tuple[dict[str, RawMammogram], ImportReport]) -> None:
    """Every file and row is accounted for."""
    found, report = scanned
    assert sorted(found) == [
        "half.dcm",
        "one/a.dcm",
        "one/b.dicom",
        "one/p2 left",
        "one/p2 raw",
        "one/p2 right",
        "one/p3",
        *(f"two/{name}" for name in "cdefgh"),
        "two/p4",
        "two/unknown",
        "two/words",
    ]
    assert counts(report.dropped) == {
        tables.TOO_WIDE: 1,
        label_rows.BAD_BOX: 2,
        label_rows.BAD_OUTCOME: 1,
        label_rows.BAD_ASSESSMENT: 1,
        label_rows.BAD_DENSITY: 1,
        label_rows.BAD_SPLIT: 1,
        label_rows.NO_UNIT: 1,
        label_rows.NO_SOURCE: 1,
        label_rows.OUTSIDE: 1,
        dicom.BREAST_WITHOUT_SIDE: 1,
        dicom.NO_KEY: 1,
        dicom.UNMATCHED: 1,
        dicom.NOT_DICOM: 1,
        dicom.DUPLICATE: 1,
        dicom.DAMAGED: 2,
        dicom.NO_PATIENT: 1,
        dicom.SECONDARY_CAPTURE: 1,
        dicom_header.TOMOSYNTHESIS: 1,
        dicom_header.OTHER_MODALITY: 1,
        dicom_header.NOT_AN_IMAGE: 1,
    }
    assert counts(report.flagged) == {
        dicom.NO_SIDE: 1,
        dicom.NO_VIEW: 1,
        dicom.UNKNOWN_PATIENT: 1,
        label_rows.LABELS_DIFFER: 1,
        dicom_position.SIDE_FROM_WORDS: 1,
        dicom_position.VIEW_FROM_WORDS: 1,
    }
    assert report.mended == {}


def test_labels(scanned: tuple[dict[str, RawMammogram], ImportReport]) -> None:
    """Rows reach their images by file, UID, or patient and side, and keep unit and source."""
    found, _ = scanned
    labels = {name: mammogram.label for name, mammogram in found.items() if mammogram.label}
    assert labels == {
        "one/a.dcm": Label(MALIGNANT, LabelUnit.IMAGE, PATHOLOGY),
        "one/b.dicom": Label(BENIGN, LabelUnit.IMAGE, LabelSource.ASSESSMENT),
        "one/p2 left": Label(MALIGNANT, LabelUnit.BREAST, PATHOLOGY),
        "one/p2 raw": Label(MALIGNANT, LabelUnit.BREAST, PATHOLOGY),
        "one/p3": Label(Outcome.NORMAL, LabelUnit.PATIENT, LabelSource.SCREENING),
        "two/c": Label(MALIGNANT, LabelUnit.IMAGE, PATHOLOGY),
        "two/d": Label(MALIGNANT, LabelUnit.IMAGE, PATHOLOGY),
        "two/e": Label(MALIGNANT, LabelUnit.IMAGE, PATHOLOGY),
    }
    second = found["one/b.dicom"]
    assert (second.assessment, second.density, second.split) == (4, "c", "val")
    assert (second.side, second.view, second.patient, second.exam, second.name) == (
        "RIGHT",
        "MLO",
        "P1",
        "1.8.1",
        "1.9.2",
    )
    assert (second.height, second.width) == (80, 60)


def test_findings(scanned: tuple[dict[str, RawMammogram], ImportReport]) -> None:
    """Boxes become outlines. A finding without a usable place stays, without one."""
    found, _ = scanned
    marked = found["two/c"]
    assert marked.findings == (
        Finding("mass", (box_outline(*BOX),), MALIGNANT, 5),
        Finding("calcification", (box_outline(50, 10, 60, 20),), BENIGN, 2),
    )
    assert marked.all_marked and marked.assessment == 5
    assert [finding.outlines for finding in found["two/d"].findings] == [()]
    assert [finding.outlines for finding in found["two/e"].findings] == [(), ()]
    assert not found["two/d"].all_marked


def test_pixels(tmp_path: Path) -> None:
    """All files decode to the same image, but for the one that is cut off."""
    write_plain_dicom(tmp_path)
    files, layout = FolderFiles(tmp_path), PlainDicom()
    for found in layout.scan(files, ImportReport()):
        if found.file == "half.dcm":
            with pytest.raises(InvalidInput, match=r"the pixels of file \d+ cannot be decoded"):
                layout.read(files, found)
            continue
        stored = 4095 - image() if found.file == "one/b.dicom" else image()
        np.testing.assert_array_equal(layout.read(files, found).grey, stored << 4)


def test_a_folder_without_a_table_is_unlabelled(tmp_path: Path) -> None:
    """Unlabelled is not normal."""
    write_plain_dicom(tmp_path)
    (tmp_path / "labels.csv").unlink()
    report = ImportReport()
    found = list(PlainDicom().scan(FolderFiles(tmp_path), report))
    assert len(found) == 16
    assert {mammogram.label for mammogram in found} == {None}
    assert not any(mammogram.all_marked for mammogram in found)


def test_reports_name_files_by_number(scanned: tuple[dict[str, RawMammogram], ImportReport], tmp_path: Path) -> None:
    """`file 17` is the seventeenth of the sorted list; names may identify patients."""
    _, report = scanned
    place = report.dropped[dicom.NOT_DICOM].examples[0]
    assert FolderFiles(tmp_path).names[int(place.removeprefix("file ")) - 1] == "README"
    text = report.model_dump_json()
    assert "one/" not in text and "two/" not in text and ".dcm" not in text


def test_a_file_that_disappears_is_named_by_number(tmp_path: Path) -> None:
    """Also when it cannot be read any more."""
    write_plain_dicom(tmp_path)
    files, layout = FolderFiles(tmp_path), PlainDicom()
    mammogram = next(layout.scan(files, ImportReport()))
    (tmp_path / mammogram.file).unlink()
    with pytest.raises(InvalidInput, match=r"^file \d+ cannot be read$"):
        layout.read(files, mammogram)


def test_the_layout_has_a_name() -> None:
    """Its identifiers are not public, so pseudonyms take their place."""
    assert isinstance(layout_named("dicom"), PlainDicom)
    assert not PlainDicom.public_identifiers


def test_a_preview_is_shown_through_the_window_of_its_file(tmp_path: Path) -> None:
    """The patches keep the whole range, in which half of the tissue is dark."""
    folder, report = tmp_path / "raw", ImportReport()
    folder.mkdir()
    dataset = mammogram(breast(400, 300), WindowCenter=1000, WindowWidth=1000)
    (folder / "a.dcm").write_bytes(file_bytes(dataset))
    files, layout = FolderFiles(folder), layout_named("dicom")
    (found,) = layout.scan(files, report)
    cut = Preparer(layout, files, CutRecipe(), (), report).prepare(found, "train")
    assert cut is not None
    preview = np.asarray(Image.open(io.BytesIO(cut.mammogram.preview))).astype(float)
    stored = np.asarray(Image.open(io.BytesIO(cut.mammogram.image))) / 16
    expected = np.clip((stored - 500) / 999, 0, 1) * 255
    assert np.abs(preview - expected).mean() < 4 < np.abs(preview - stored / 16).mean()
