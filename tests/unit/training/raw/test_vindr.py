"""The layout of VinDr-Mammo over a small set with every known fault of the real one."""

from pathlib import Path

import pytest

from services.common.errors import InvalidInput
from services.training.raw.case import LabelSource, LabelUnit, Outcome, RawMammogram
from services.training.raw.layouts import vindr
from services.training.raw.layouts.vindr import VinDr
from services.training.raw.report import ImportReport
from services.training.raw.source.dicom_headers import UNREADABLE
from services.training.raw.source.files import FolderFiles
from tests.fakes.raw.plain_files import grey_image, write_picture
from tests.fakes.raw.vindr import write_vindr
from tests.unit.training.raw.scanning import counts, scan


@pytest.fixture(name="source", scope="module")
def _source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("vindr")
    write_vindr(root)
    return root


@pytest.fixture(name="scanned", scope="module")
def _scanned(source: Path) -> tuple[dict[str, RawMammogram], ImportReport]:
    return scan(VinDr(), source)


def test_every_image_with_a_row_and_a_file_is_read(scanned: tuple[dict[str, RawMammogram], ImportReport]) -> None:
    """The order is that of the table; the report counts what is missing."""
    found, report = scanned
    assert list(found) == [
        "normal-l-cc",
        "normal-l-mlo",
        "benign-r-cc",
        "benign-r-mlo",
        "mass-l-cc",
        "mass-l-mlo",
        "calc-r-cc",
        "calc-r-cc-again",
        "probably-l-cc",
        "retraction-r-cc",
    ]
    assert counts(report.dropped) == {
        vindr.NO_FILE: 1,
        vindr.REPEATED: 1,
        vindr.NO_ROW: 1,
        UNREADABLE: 1,
        vindr.FOR_PROCESSING: 1,
        vindr.SECOND_COPY: 1,
        vindr.NO_IMAGE: 1,
        vindr.BAD_CATEGORIES: 1,
        vindr.BAD_BOX: 2,
    }
    assert counts(report.mended) == {vindr.CLIPPED: 1}
    assert counts(report.flagged) == {vindr.VIEW_TWICE: 1, vindr.CONTRADICTION: 1, vindr.NO_CATEGORY: 2}
    assert report.counts == {"studies with two series": 1}


def test_only_bi_rads_1_and_2_are_outcomes(scanned: tuple[dict[str, RawMammogram], ImportReport]) -> None:
    """A suspicious breast keeps its category and has no outcome; only a normal one has no unmarked findings."""
    found, _ = scanned
    labels = {name: one.label.outcome if one.label else None for name, one in found.items()}
    assert {name for name, outcome in labels.items() if outcome is Outcome.NORMAL} == {"normal-l-cc", "normal-l-mlo"}
    assert {name for name, outcome in labels.items() if outcome is Outcome.BENIGN} == {"benign-r-cc", "benign-r-mlo"}
    assert {name for name, one in found.items() if one.all_marked} == {"normal-l-cc", "normal-l-mlo"}
    assert [found[name].assessment for name in ("mass-l-cc", "calc-r-cc", "probably-l-cc")] == [4, 5, 3]
    label = found["benign-r-cc"].label
    assert label is not None
    assert (label.unit, label.source) == (LabelUnit.BREAST, LabelSource.ASSESSMENT)


def test_side_view_density_split_and_size_come_from_the_table(
    scanned: tuple[dict[str, RawMammogram], ImportReport],
) -> None:
    """Sides are LEFT and RIGHT, densities a to d."""
    one = scanned[0]["calc-r-cc"]
    assert (one.side, one.view, one.density, one.split) == ("RIGHT", "CC", "d", "test")
    assert (one.patient, one.exam, one.height, one.width) == ("s3", "s3", 60, 40)


def test_a_box_of_two_labels_is_two_findings_with_its_outline(
    scanned: tuple[dict[str, RawMammogram], ImportReport],
) -> None:
    """The outline is the box as (row, column)."""
    outline = ((20.25, 10.5), (20.25, 18.5), (30.75, 18.5), (30.75, 10.5))
    findings = scanned[0]["mass-l-cc"].findings
    assert [finding.kind for finding in findings] == ["calcification", "mass"]
    assert all(finding.outlines == (outline,) and finding.assessment == 4 for finding in findings)


def test_a_box_that_leaves_the_frame_is_clipped_to_it(scanned: tuple[dict[str, RawMammogram], ImportReport]) -> None:
    """The rest of the box stays where it was."""
    (finding,) = scanned[0]["mass-l-mlo"].findings
    assert finding.outlines == (((50.0, 0.0), (50.0, 12.0), (60.0, 12.0), (60.0, 0.0)),)


def test_pixels_are_those_that_were_written(
    source: Path, scanned: tuple[dict[str, RawMammogram], ImportReport]
) -> None:
    """A .dicom file is read like any DICOM."""
    pixels = VinDr().read(FolderFiles(source), scanned[0]["normal-l-cc"])
    assert (pixels.grey == grey_image(0, bits=12) << 4).all()


def test_png_copies_are_read_without_their_dicom(source: Path, tmp_path: Path) -> None:
    """The Kaggle copy has the same tables, and pictures instead of DICOM."""
    for table in ("breast-level_annotations.csv", "finding_annotations.csv"):
        (tmp_path / table).write_bytes((source / table).read_bytes())
    write_picture(tmp_path / "images_png" / "s2" / "mass-l-cc.png", grey_image(4))
    found, _ = scan(VinDr(), tmp_path)
    assert list(found) == ["mass-l-cc"]
    assert (VinDr().read(FolderFiles(tmp_path), found["mass-l-cc"]).grey == grey_image(4)).all()


def test_a_folder_without_the_tables_is_refused_by_name(tmp_path: Path) -> None:
    """The message names the missing table, or the missing column."""
    with pytest.raises(InvalidInput, match="breast-level_annotations"):
        scan(VinDr(), tmp_path)
    (tmp_path / "breast-level_annotations.csv").write_text("study_id,image_id\n")
    (tmp_path / "finding_annotations.csv").write_text(
        "image_id,finding_categories,finding_birads,xmin,ymin,xmax,ymax\n"
    )
    with pytest.raises(InvalidInput, match="laterality"):
        scan(VinDr(), tmp_path)
