"""The layout of RSNA 2022 over a small set with every known fault of the real one."""

from pathlib import Path

import pytest

from services.common.errors import InvalidInput
from services.training.raw.case import LabelSource, LabelUnit, Outcome, RawMammogram
from services.training.raw.layouts import rsna
from services.training.raw.layouts.rsna import RSNA
from services.training.raw.report import ImportReport
from services.training.raw.source import tables
from services.training.raw.source.files import FolderFiles
from tests.fakes.raw.plain_files import grey_image, write_picture
from tests.fakes.raw.rsna import write_rsna
from tests.unit.training.raw.scanning import counts, scan

Scanned = tuple[dict[str, RawMammogram], ImportReport]


@pytest.fixture(name="source", scope="module")
def _source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rsna")
    write_rsna(root)
    return root


@pytest.fixture(name="scanned", scope="module")
def _scanned(source: Path) -> Scanned:
    return scan(RSNA(), source)


def test_every_fault_is_counted(scanned: Scanned) -> None:
    """Eleven images of the train part and two of the test part are kept."""
    found, report = scanned
    assert [one.split for one in found.values()] == ["train"] * 11 + ["test"] * 2
    assert counts(report.dropped) == {
        rsna.NO_FILE: 1,
        rsna.NO_ROW: 1,
        rsna.REPEATED: 1,
        rsna.SECOND_COPY: 1,
        tables.TOO_WIDE: 1,
    }
    assert report.mended == {}
    assert counts(report.flagged) == {rsna.IMPLANT: 3, rsna.NO_OUTCOME: 1, rsna.NO_SIDE: 1}


def test_labels_are_of_the_breast_and_say_where_they_come_from(scanned: Scanned) -> None:
    """No cancer is a label only with a biopsy, or with BI-RADS 1 or 2; the test part is unlabelled."""
    labels = {name: one.label for name, one in scanned[0].items() if one.label}
    assert {name: (label.outcome, label.source) for name, label in labels.items()} == {
        "10006_462822612": (Outcome.NORMAL, LabelSource.SCREENING),
        "10006_1459541791": (Outcome.NORMAL, LabelSource.SCREENING),
        "10006_1864590858": (Outcome.BENIGN, LabelSource.SCREENING),
        "10011_541722628": (Outcome.BENIGN, LabelSource.PATHOLOGY),
        "10025_562340703": (Outcome.MALIGNANT, LabelSource.PATHOLOGY),
        "10025_288394860": (Outcome.MALIGNANT, LabelSource.PATHOLOGY),
        "10025_1": (Outcome.MALIGNANT, LabelSource.SCREENING),
    }
    assert {label.unit for label in labels.values()} == {LabelUnit.BREAST}


def test_only_normal_breasts_have_no_unmarked_findings(scanned: Scanned) -> None:
    """The set has no outlines."""
    assert {name for name, one in scanned[0].items() if one.all_marked} == {"10006_462822612", "10006_1459541791"}
    assert not any(one.findings for one in scanned[0].values())


def test_rare_views_and_empty_fields_are_kept(scanned: Scanned) -> None:
    """An empty category or density stays empty."""
    found, _ = scanned
    assert [one.view for one in found.values()][:9] == ["CC", "MLO", "MLO", "CC", "AT", "LMO", "ML", "LM", "CC"]
    assert [one.assessment for one in found.values()][:6] == [1, 1, 2, 0, 0, None]
    assert [one.density for one in found.values()][:6] == ["a", "a", "b", "c", "c", ""]
    assert found["10026_3"].side == ""


def test_pixels_are_those_of_the_dicom(source: Path, scanned: Scanned) -> None:
    """The picture next to it is not used."""
    pixels = RSNA().read(FolderFiles(source), scanned[0]["10006_462822612"])
    assert (pixels.grey == grey_image(0, bits=12) << 4).all()


def test_copies_with_pictures_are_read(source: Path, tmp_path: Path) -> None:
    """A copy needs train.csv and a folder that begins with train_images."""
    (tmp_path / "train.csv").write_bytes((source / "train.csv").read_bytes())
    write_picture(tmp_path / "train_images_png" / "10006" / "462822612.png", grey_image(3))
    found, report = scan(RSNA(), tmp_path)
    assert list(found) == ["10006_462822612"]
    assert report.dropped[rsna.NO_FILE].count == 11


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    """The message names the missing table or column."""
    with pytest.raises(InvalidInput, match=r"train\.csv"):
        scan(RSNA(), tmp_path)
    (tmp_path / "train.csv").write_text("patient_id,image_id,laterality,view\n")
    with pytest.raises(InvalidInput, match="cancer"):
        scan(RSNA(), tmp_path)
