"""The layout of EMBED over a small set with every known fault of the real one."""

from pathlib import Path

import pytest

from services.common.errors import InvalidInput
from services.imaging.geometry import box_outline
from services.imaging.licence import Term
from services.training.raw.case import LabelSource, LabelUnit, Outcome, RawMammogram
from services.training.raw.layouts.embed import layout as embed
from services.training.raw.layouts.embed.layout import Embed
from services.training.raw.report import ImportReport
from services.training.raw.source.files import FolderFiles
from tests.fakes.raw.embed import CLINICAL, FINDINGS, METADATA, path_of, write_embed
from tests.fakes.raw.plain_files import Table, grey_image, write_csv, write_dicom, write_picture
from tests.unit.training.raw.scanning import counts, scan

Scanned = tuple[dict[str, RawMammogram], ImportReport]


@pytest.fixture(name="source", scope="module")
def _source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("embed")
    write_embed(root)
    return root


@pytest.fixture(name="scanned", scope="module")
def _scanned(source: Path) -> Scanned:
    return scan(Embed(), source)


def test_every_fault_is_counted(scanned: Scanned) -> None:
    """Nineteen 2D mammograms are kept of 28 rows."""
    found, report = scanned
    assert len(found) == 19
    assert counts(report.dropped) == {
        embed.SYNTHETIC: 1,
        embed.TOMOSYNTHESIS: 1,
        embed.SCREEN_CAPTURE: 2,
        embed.OTHER_TYPE: 1,
        embed.SPOT: 1,
        embed.NO_FILE: 1,
        embed.REPEATED: 1,
        embed.BAD_KEY: 1,
        embed.BAD_SIDE: 1,
        embed.NO_IMAGE: 1,
        embed.BAD_REGIONS: 1,
        embed.BAD_REGION: 1,
    }
    assert counts(report.mended) == {embed.CLIPPED: 1}
    assert counts(report.flagged) == {
        embed.UNPLACED: 2,
        embed.NO_SIDE: 1,
        embed.NO_CLINICAL: 1,
        embed.CONTRADICTION: 1,
        embed.NUMBER_DIFFERS: 1,
        embed.SECOND_MATCH: 1,
        embed.IMPLANT: 1,
    }


def test_findings_are_joined_by_exam_and_side(scanned: Scanned) -> None:
    """The mass of the left breast does not reach the right one; a row without a side reaches both."""
    found, _ = scanned
    assert [finding.kind for finding in found["mass-l-cc"].findings] == ["mass"]
    assert found["mass-r-cc"].findings == ()
    assert [finding.kind for finding in found["dist-l-cc"].findings] == ["architectural distortion"]
    assert [one.assessment for one in (found["mass-l-cc"], found["mass-r-cc"])] == [0, 1]


def test_the_worst_pathology_of_a_breast_decides_its_label(scanned: Scanned) -> None:
    """A high-risk lesion and a cancer of another organ are neither; a negative biopsy is benign."""
    labels = {name: one.label for name, one in scanned[0].items() if one.label}
    assert {name: (label.outcome, label.source) for name, label in labels.items()} == {
        "n-l-cc": (Outcome.NORMAL, LabelSource.ASSESSMENT),
        "n-r-mlo": (Outcome.NORMAL, LabelSource.ASSESSMENT),
        "mass-r-cc": (Outcome.NORMAL, LabelSource.ASSESSMENT),
        "calc-l-mlo": (Outcome.MALIGNANT, LabelSource.PATHOLOGY),
        "calc-l-xccl": (Outcome.MALIGNANT, LabelSource.PATHOLOGY),
        "calc-r-mlo": (Outcome.BENIGN, LabelSource.ASSESSMENT),
        "dist-r-cc": (Outcome.MALIGNANT, LabelSource.PATHOLOGY),
        "neg-r-cc": (Outcome.BENIGN, LabelSource.PATHOLOGY),
        "wrong-r-cc": (Outcome.NORMAL, LabelSource.ASSESSMENT),
    }
    assert {label.unit for label in labels.values()} == {LabelUnit.BREAST}


def test_only_normal_breasts_have_no_unmarked_findings(scanned: Scanned) -> None:
    """Radiologists circled some findings only."""
    assert {name for name, one in scanned[0].items() if one.all_marked} == {
        "n-l-cc",
        "n-r-mlo",
        "mass-r-cc",
        "wrong-r-cc",
    }


def test_regions_are_boxes_of_row_and_column(scanned: Scanned) -> None:
    """One that leaves the image is clipped; two findings of a breast leave the kind of a region open."""
    found, _ = scanned
    (mass,) = found["mass-l-cc"].findings
    assert mass.outlines == (box_outline(20, 10, 31, 22),)
    assert mass.attributes == {"shape": "oval", "margin": "circumscribed", "density": "equal"}
    regions = found["calc-l-mlo"].findings
    assert [finding.outlines for finding in regions] == [
        (box_outline(20, 10, 31, 22),),
        (box_outline(40, 5, 60, 12),),
    ]
    assert {finding.kind for finding in regions} == {"finding"}
    (negative,) = found["neg-r-cc"].findings
    assert (negative.kind, negative.outcome) == ("mass", Outcome.BENIGN)


def test_letters_become_words(scanned: Scanned) -> None:
    """Several letters may stand in one field; a finding without a region is known, but not where."""
    found, _ = scanned
    calcification, mass = found["calc-l-xccl"].findings
    assert calcification.attributes == {"calcification": "amorphous, punctate", "distribution": "grouped"}
    assert (calcification.kind, calcification.outcome, calcification.outlines) == (
        "calcification",
        Outcome.MALIGNANT,
        (),
    )
    assert mass.attributes == {"shape": "irregular", "margin": "spiculated", "density": "high"}
    assert found["calc-r-mlo"].findings[0].attributes == {"calcification": "benign, vascular"}
    assert found["wrong-l-cc"].findings[0].attributes == {"certainty": "questioned"}


def test_density_exam_and_patient(scanned: Scanned) -> None:
    """Density 5 is a man's and no category."""
    found, _ = scanned
    assert (found["n-l-cc"].density, found["mass-l-cc"].density, found["x-r-cc"].density) == ("a", "c", "")
    one = found["calc-l-xccl"]
    assert (one.patient, one.exam, one.side, one.view) == ("9002", "20", "LEFT", "XCCL")
    assert found["n-l-cc"].patient == found["mass-l-cc"].patient == "9001"


def test_the_root_of_paths_is_replaced(source: Path, scanned: Scanned) -> None:
    """Paths begin with the root of the machine that made them."""
    one = scanned[0]["n-l-cc"]
    assert one.file == f"images/{path_of(10, 'n-l-cc')}"
    assert (Embed().read(FolderFiles(source), one).grey == grey_image(0, bits=12) << 4).all()


def test_reduced_tables_are_read(tmp_path: Path) -> None:
    """They lack the size of images, so nothing is clipped, and a region outside of the image is not noticed."""
    write_embed(tmp_path, reduced=True)
    found, report = scan(Embed(), tmp_path)
    assert len(found) == 19
    assert report.mended == {}
    assert embed.BAD_REGION not in report.dropped


@pytest.mark.parametrize(("suffix", "left"), [("dcm", 5), ("png", 25)])
def test_regions_of_pictures_and_of_dicom_are_kept_apart(tmp_path: Path, suffix: str, left: int) -> None:
    """The pictures of one release were flipped, and its table has both frames."""
    columns = ["PNG_ROI_coords" if column == "ROI_coords" else column for column in METADATA]
    clinical = FINDINGS[1].line()
    stem = f"cohort_2/{clinical[0]}/1100/a"
    line = [*clinical[:2], f"/data/{stem}.dcm", "a.png", "2D", "L", "CC", 0, 1, "((20, 25, 30, 35),)", "[1]", 60, 40]
    write_csv(tmp_path / "EMBED_OpenData_clinical.csv", [CLINICAL, clinical])
    table: Table = [[*columns, "DCM_ROI_coords"], [*line, "((20, 5, 30, 15),)"]]
    write_csv(tmp_path / "EMBED_OpenData_metadata.csv", table)
    if suffix == "dcm":
        write_dicom(tmp_path / f"{stem}.dcm", grey_image(1))
    else:
        write_picture(tmp_path / "pictures" / "a.png", grey_image(1))
    found, _ = scan(Embed(), tmp_path)
    assert found["a"].findings[0].outlines == (box_outline(20, left, 30, left + 10),)


def test_the_licence_forbids_to_release_weights() -> None:
    """The terms travel to checkpoints."""
    assert set(Embed.licence.terms) == {Term.NO_REDISTRIBUTION, Term.NO_WEIGHTS_RELEASE}


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    """The message names the missing table or column."""
    with pytest.raises(InvalidInput, match="EMBED_OpenData_metadata"):
        scan(Embed(), tmp_path)
    (tmp_path / "EMBED_OpenData_metadata.csv").write_text("empi_anon,acc_anon\n")
    with pytest.raises(InvalidInput, match="EMBED_OpenData_clinical"):
        scan(Embed(), tmp_path)
    (tmp_path / "EMBED_OpenData_clinical.csv").write_text("empi_anon,acc_anon,side,asses\n")
    with pytest.raises(InvalidInput, match="FinalImageType"):
        scan(Embed(), tmp_path)
