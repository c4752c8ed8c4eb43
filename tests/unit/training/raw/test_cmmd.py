"""The layout of CMMD with TOMPEI-CMMD over a small set with every known fault of the real ones."""

from pathlib import Path

import pytest

from services.common.errors import InvalidInput
from services.training.raw.case import LabelSource, LabelUnit, Outcome, RawMammogram
from services.training.raw.layouts.cmmd import layout as cmmd
from services.training.raw.layouts.cmmd import sides as cmmd_sides
from services.training.raw.layouts.cmmd import tompei
from services.training.raw.layouts.cmmd.layout import CMMD
from services.training.raw.report import ImportReport
from services.training.raw.source.dicom_headers import UNREADABLE
from services.training.raw.source.files import FolderFiles
from tests.fakes.raw.cmmd import SHOTS, SQUARE, image_file, image_of, write_cmmd
from tests.unit.training.raw.scanning import counts, scan

Scanned = tuple[dict[str, RawMammogram], ImportReport]
OUTLINE = tuple((y, x) for x, y in SQUARE)


@pytest.fixture(name="source", scope="module")
def _source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cmmd")
    write_cmmd(root)
    return root


@pytest.fixture(name="scanned", scope="module")
def _scanned(source: Path) -> Scanned:
    return scan(CMMD(), source)


@pytest.fixture(name="plain", scope="module")
def _plain(tmp_path_factory: pytest.TempPathFactory) -> Scanned:
    """The same set without TOMPEI-CMMD."""
    root = tmp_path_factory.mktemp("plain")
    write_cmmd(root, tompei=False)
    return scan(CMMD(), root)


def test_every_fault_is_counted(scanned: Scanned) -> None:
    """Of 54 readable images five are those of another patient."""
    found, report = scanned
    assert len(SHOTS) == 53
    assert len(found) == 53 - 5 + 1
    assert counts(report.dropped) == {
        cmmd.TWIN: 5,
        cmmd.BAD_ROW: 1,
        cmmd.ROW_WITHOUT_IMAGE: 2,
        UNREADABLE: 1,
        cmmd.NO_MAMMOGRAM: 1,
        tompei.JUNK: 6,
        tompei.BAD_FILE: 1,
        tompei.BAD_REGION: 1,
    }
    assert counts(report.mended) == {cmmd.ONE_PATIENT: 2, cmmd_sides.REVERSED: 4, cmmd_sides.SWAPPED: 4}
    assert counts(report.flagged) == {
        cmmd.CONFLICT: 1,
        cmmd.NO_SIDE: 1,
        cmmd.VIEW_TWICE: 2,
        cmmd.OTHER_BREAST: 1,
        cmmd.TO_EXCLUDE: 2,
        cmmd_sides.DOUBTFUL: 2,
        cmmd_sides.MIRRORED: 1,
        tompei.UNKNOWN_KIND: 1,
    }


def test_unlabelled_breasts_never_become_negatives(scanned: Scanned, plain: Scanned) -> None:
    """A breast without a row has no label and no category, not even where TOMPEI-CMMD finds nothing in it; no tissue
    of it counts as normal. Nothing in the set is normal."""
    for found, report in (scanned, plain):
        unlabelled = [one for one in found.values() if one.label is None]
        assert {one.name for one in unlabelled} >= {"D2-0001_RIGHT_CC", "D2-0001_RIGHT_MLO", "D1-0202_RIGHT_CC"}
        assert all(one.assessment is None and not one.all_marked for one in unlabelled)
        assert Outcome.NORMAL not in {one.label.outcome for one in found.values() if one.label}
        assert report.counts["images of unlabelled breasts"] == len(unlabelled)


def test_labels_are_those_of_the_breast_by_pathology(scanned: Scanned) -> None:
    """A patient can have a benign and a malignant breast."""
    found, _ = scanned
    outcomes = {name: one.label.outcome for name, one in found.items() if one.label}
    assert outcomes["D1-0003_LEFT_CC"] is outcomes["D1-0003_LEFT_MLO"] is Outcome.BENIGN
    assert outcomes["D1-0003_RIGHT_CC"] is outcomes["D1-0003_RIGHT_MLO"] is Outcome.MALIGNANT
    assert found["D1-0003_LEFT_CC"].patient == found["D1-0003_RIGHT_CC"].patient == "D1-0003"
    label = found["D1-0001_LEFT_CC"].label
    assert label is not None
    assert (label.unit, label.source) == (LabelUnit.BREAST, LabelSource.PATHOLOGY)
    assert "D2-0060_LEFT_CC" not in outcomes  # its rows disagree
    assert "D2-0048_LEFT_CC" not in outcomes  # TOMPEI-CMMD finds the cancer in the other breast
    assert "D2-0048_RIGHT_CC" not in outcomes


def test_images_under_two_identifiers_are_kept_once(scanned: Scanned) -> None:
    """What is left of the second patient belongs to the first one, so that a split cannot separate them."""
    found, _ = scanned
    assert not [name for name in found if name.startswith("D2-0284")]
    assert [name for name in found if name.startswith("D1-1292")] == ["D1-1292_LEFT_MLO"]
    assert found["D1-1292_LEFT_MLO"].patient == "D1-0808"


def test_wrong_sides_are_corrected_where_something_proves_it(scanned: Scanned, source: Path) -> None:
    """Each corrected image lies in the file that shows this side, and its label moves with it."""
    found, _ = scanned
    manifest = source / "manifest-1616439774456"
    files = {name: one.file for name, one in found.items()}
    assert found["D1-0252_RIGHT_MLO"].label is not None  # the row states the left breast, as the header does
    assert found["D1-0690_LEFT_CC"].label is not None
    assert files["D2-0041_RIGHT_CC"] == image_file(manifest, "D2-0041", 1).relative_to(source).as_posix()
    assert files["D2-0224_LEFT_MLO"] == image_file(manifest, "D2-0224", 4).relative_to(source).as_posix()
    assert found["D2-0224_LEFT_MLO"].label is not None
    assert found["D2-0224_RIGHT_MLO"].label is None
    assert found["D2-0112_LEFT_CC"].label is not None  # mirrored, not swapped


def test_an_image_whose_side_is_in_doubt_is_not_labelled(scanned: Scanned) -> None:
    """Two MLO views of D1-0999 state the left breast; its CC views are right."""
    found, _ = scanned
    labels = {name: one.label for name, one in found.items() if name.startswith("D1-0999")}
    assert labels["D1-0999_LEFT_MLO"] is labels["D1-0999_LEFT_MLO_2"] is None
    assert labels["D1-0999_LEFT_CC"] is not None
    assert labels["D1-0999_RIGHT_CC"] is not None


def test_outlines_are_joined_by_patient_and_corrected_side(scanned: Scanned) -> None:
    """Labels lose their trailing blanks. Only an MLO view has outlines."""
    found, _ = scanned
    kinds = {name: [finding.kind for finding in one.findings] for name, one in found.items() if one.findings}
    assert kinds == {
        "D1-0001_LEFT_MLO": ["mass", "calcification"],
        "D1-0002_RIGHT_MLO": ["focal asymmetry", "focal asymmetry", "finding"],
        "D1-0003_RIGHT_MLO": ["mass", "calcification"],
        "D2-0001_RIGHT_MLO": ["mass"],
        "D2-0224_LEFT_MLO": ["mass"],
    }
    assert found["D1-0001_LEFT_MLO"].findings[0].outlines == (OUTLINE,)
    assert found["D2-0001_RIGHT_MLO"].findings[0].attributes == {"type": "lipoma"}


def test_a_view_is_all_marked_if_the_abnormality_of_the_sheet_is_outlined(scanned: Scanned) -> None:
    """The calcification of D1-0002 is not outlined, and D2-0001's right breast is unlabelled."""
    found, _ = scanned
    assert {name for name, one in found.items() if one.all_marked} == {
        "D1-0001_LEFT_MLO",
        "D1-0003_RIGHT_MLO",
        "D2-0224_LEFT_MLO",
    }


def test_readings_add_density_and_category(scanned: Scanned) -> None:
    """The category is that of a labelled breast only."""
    found, _ = scanned
    assert (found["D1-0001_LEFT_CC"].density, found["D1-0001_LEFT_CC"].assessment) == ("c", 4)
    assert (found["D2-0001_RIGHT_CC"].density, found["D2-0001_RIGHT_CC"].assessment) == ("d", None)


def test_without_tompei_the_images_and_labels_are_the_same_but_for_its_corrections(plain: Scanned) -> None:
    """The pixels prove the sides, too."""
    found, report = plain
    assert len(found) == 49
    assert counts(report.mended) == {cmmd.ONE_PATIENT: 2, cmmd_sides.REVERSED: 4, cmmd_sides.SWAPPED: 4}
    assert not [one for one in found.values() if one.findings or one.density or one.all_marked]
    assert found["D2-0048_LEFT_CC"].label is not None


@pytest.mark.parametrize("patient", ["D1-0001", "D1-1343"])
def test_8_and_16_bits_are_read(source: Path, scanned: Scanned, patient: str) -> None:
    """The pixels are those that were written."""
    one = scanned[0][f"{patient}_LEFT_CC"]
    shot = next(shot for shot in SHOTS if shot.patient == patient)
    assert (CMMD().read(FolderFiles(source), one).grey == image_of(shot)).all()
    assert (one.height, one.width) == (60, 40)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    """The message names the missing sheet, column or files."""
    with pytest.raises(InvalidInput, match="CMMD_clinicaldata_revision"):
        scan(CMMD(), tmp_path)
    (tmp_path / "CMMD_clinicaldata_revision.csv").write_text("ID1,LeftRight\n")
    with pytest.raises(InvalidInput, match="classification"):
        scan(CMMD(), tmp_path)
    (tmp_path / "CMMD_clinicaldata_revision.csv").write_text("ID1,LeftRight,classification\n")
    with pytest.raises(InvalidInput, match=r"1-1\.dcm"):
        scan(CMMD(), tmp_path)
