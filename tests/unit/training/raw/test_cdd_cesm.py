"""The layout of CDD-CESM over a small set with every known fault of the real one."""

from pathlib import Path

import numpy as np
import pytest

from services.common.errors import InvalidInput
from services.imaging.geometry import Region, ellipse_outline
from services.training.raw.case import LabelSource, LabelUnit, Outcome, RawMammogram
from services.training.raw.layouts.cdd_cesm import layout as cdd_cesm
from services.training.raw.layouts.cdd_cesm import via
from services.training.raw.layouts.cdd_cesm.layout import CddCesm
from services.training.raw.report import ImportReport
from services.training.raw.source.files import FolderFiles
from tests.fakes.raw.cdd_cesm import write_cdd_cesm
from tests.fakes.raw.plain_files import grey_image, write_workbook
from tests.unit.training.raw.scanning import counts, scan

Scanned = tuple[dict[str, RawMammogram], ImportReport]


@pytest.fixture(name="source", scope="module")
def _source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cdd")
    write_cdd_cesm(root)
    return root


@pytest.fixture(name="scanned", scope="module")
def _scanned(source: Path) -> Scanned:
    return scan(CddCesm(), source)


def test_every_fault_is_counted(scanned: Scanned) -> None:
    """Seven low-energy images are kept; an image with two rows counts once."""
    found, report = scanned
    assert list(found) == [
        "P1_R_DM_MLO",
        "P1_L_DM_MLO",
        "P2_L_DM_CC",
        "P2_R_DM_CC",
        "P3_L_DM_CC",
        "P3_R_DM_CC",
        "P3_R_DM_MLO",
    ]
    assert counts(report.dropped) == {
        cdd_cesm.SUBTRACTED: 1,
        cdd_cesm.SUBTRACTED_OUTLINE: 1,
        cdd_cesm.BAD_NAME: 1,
        cdd_cesm.NO_FILE: 1,
        cdd_cesm.NO_ROW: 1,
        cdd_cesm.SECOND_COPY: 1,
        cdd_cesm.NO_IMAGE: 1,
        via.BAD_REGION: 1,
    }
    assert counts(report.mended) == {cdd_cesm.BLANK: 3, cdd_cesm.SPELLING: 1, via.CLOSED: 1}
    assert counts(report.flagged) == {
        cdd_cesm.SEVERAL_CATEGORIES: 1,
        cdd_cesm.SEVERAL_OUTCOMES: 1,
        cdd_cesm.BAD_OUTCOME: 1,
        cdd_cesm.CONTRADICTION: 1,
        cdd_cesm.OTHER_SIDE: 1,
    }


def test_the_worst_row_decides_label_and_category(scanned: Scanned) -> None:
    """Labels are those of the image; a field `4$2` is 4."""
    found, _ = scanned
    outcomes = {name: one.label.outcome for name, one in found.items() if one.label}
    assert outcomes == {
        "P1_R_DM_MLO": Outcome.NORMAL,
        "P1_L_DM_MLO": Outcome.MALIGNANT,
        "P2_L_DM_CC": Outcome.MALIGNANT,
        "P2_R_DM_CC": Outcome.BENIGN,
        "P3_R_DM_MLO": Outcome.BENIGN,
    }
    assert [one.assessment for one in found.values()] == [1, 4, 5, 3, 1, None, 4]
    label = found["P2_L_DM_CC"].label
    assert label is not None
    assert (label.unit, label.source) == (LabelUnit.IMAGE, LabelSource.PATHOLOGY)


def test_patient_side_view_and_density(scanned: Scanned) -> None:
    """Patient, side and view come from the name; "_" is no density."""
    found, _ = scanned
    one = found["P1_L_DM_MLO"]
    assert (one.patient, one.side, one.view, one.density) == ("P1", "LEFT", "MLO", "c")
    assert found["P3_R_DM_CC"].view == "CC"
    assert found["P3_R_DM_MLO"].density == ""


def test_every_shape_is_read(scanned: Scanned) -> None:
    """Polygons, ellipses, circles, open lines, points and boxes become the outlines that were drawn."""
    found, _ = scanned
    polygon, ellipse = (finding.outlines[0] for finding in found["P1_L_DM_MLO"].findings)
    assert polygon == ((12, 10), (12, 20), (30, 20.5), (31, 9))
    assert ellipse == pytest.approx(np.array(ellipse_outline(30, 15, 9, 4)))
    circle, point = (finding.outlines[0] for finding in found["P2_L_DM_CC"].findings)
    assert circle == pytest.approx(np.array(ellipse_outline(40, 22, 6.5, 6.5)))
    assert point == ((18, 17),)
    line, box, turned = (finding.outlines[0] for finding in found["P2_R_DM_CC"].findings)
    assert line == ((2, 1), (8, 5), (2, 9))
    assert box == ((4, 3), (4, 8), (10, 8), (10, 3))
    quarter = Region.of([turned], 60, 40)
    lying = Region.of([ellipse_outline(30, 15, 4, 9)], 60, 40)
    assert quarter.area == pytest.approx(lying.area, abs=8)
    assert max(row for row, _ in turned) == pytest.approx(34)
    assert max(column for _, column in turned) == pytest.approx(24)


def test_a_finding_has_a_kind_if_the_rows_name_only_one(scanned: Scanned) -> None:
    """The rows of P2_L_DM_CC name a mass and calcifications: the outlines do not say which is which."""
    found, _ = scanned
    kinds = {name: {(finding.kind, finding.outcome) for finding in one.findings} for name, one in found.items()}
    assert kinds["P1_L_DM_MLO"] == {("mass", Outcome.MALIGNANT)}
    assert kinds["P2_L_DM_CC"] == {("finding", None)}
    assert kinds["P2_R_DM_CC"] == {("architectural distortion", Outcome.BENIGN)}
    attributes = found["P1_L_DM_MLO"].findings[0].attributes
    assert attributes == {"shape": "irregular", "margin": "spiculated", "density": "high"}


def test_an_image_is_all_marked_if_it_is_normal_or_no_outline_was_lost(scanned: Scanned) -> None:
    """P3_L_DM_CC contradicts itself; a circle of P3_R_DM_MLO has no radius."""
    assert {name for name, one in scanned[0].items() if one.all_marked} == {
        "P1_R_DM_MLO",
        "P1_L_DM_MLO",
        "P2_L_DM_CC",
        "P2_R_DM_CC",
    }


def test_pixels_are_those_of_the_jpeg(source: Path, scanned: Scanned) -> None:
    """The name of the file has a blank before its suffix."""
    pixels = CddCesm().read(FolderFiles(source), scanned[0]["P2_L_DM_CC"])
    assert np.abs(pixels.grey.astype(int) - grey_image(3)).mean() < 10
    assert pixels.grey.shape == (60, 40)


def test_a_workbook_without_masses_is_read_without_attributes(source: Path, tmp_path: Path) -> None:
    """Shape and margin are missing then, and the report says so."""
    write_cdd_cesm(tmp_path)
    write_workbook(
        tmp_path / "Radiology-manual-annotations.xlsx",
        {"all": [list(cdd_cesm.COLUMNS), ["P1_L_DM_MLO", "4", "Benign"]]},
    )
    found, report = scan(CddCesm(), tmp_path)
    assert found["P1_L_DM_MLO"].findings[0].attributes == {}
    assert report.flagged[cdd_cesm.NO_MASSES].count == 1


def test_a_folder_of_something_else_is_refused(source: Path, tmp_path: Path) -> None:
    """The message names the missing file, sheet or column."""
    with pytest.raises(InvalidInput, match="manual"):
        scan(CddCesm(), tmp_path)
    workbook = tmp_path / "Radiology-manual-annotations.xlsx"
    write_workbook(workbook, {"some": [["Image_name"]]})
    with pytest.raises(InvalidInput, match="no such sheet"):
        scan(CddCesm(), tmp_path)
    write_workbook(workbook, {"all": [["Image_name", "BIRADS"]]})
    with pytest.raises(InvalidInput, match="Pathology"):
        scan(CddCesm(), tmp_path)
    workbook.write_bytes((source / workbook.name).read_bytes())
    with pytest.raises(InvalidInput, match="segmentations"):
        scan(CddCesm(), tmp_path)
