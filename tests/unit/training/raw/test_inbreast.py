"""The layout of INbreast over a small release with every known fault of the real one."""

import plistlib
from pathlib import Path

import pytest

from services.common.errors import InvalidInput
from services.training.raw.case import LabelSource, LabelUnit, Outcome, RawMammogram
from services.training.raw.layouts import inbreast
from services.training.raw.layouts.inbreast import INbreast
from services.training.raw.report import ImportReport
from services.training.raw.source.dicom_headers import UNREADABLE
from services.training.raw.source.files import FolderFiles
from tests.fakes.raw.inbreast import ANA, EVA, IMAGES, REGIONS, table_lines, write_inbreast
from tests.fakes.raw.plain_files import grey_image, write_workbook
from tests.unit.training.raw.scanning import counts, scan

Scanned = tuple[dict[str, RawMammogram], ImportReport]


@pytest.fixture(name="source", scope="module")
def _source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("inbreast")
    write_inbreast(root)
    return root


@pytest.fixture(name="scanned", scope="module")
def _scanned(source: Path) -> Scanned:
    return scan(INbreast(), source)


def test_every_fault_is_counted(scanned: Scanned) -> None:
    """Nine images are kept; totals, repeated rows and files without a partner are dropped."""
    found, report = scanned
    assert list(found) == [name for name, *_ in IMAGES[:-1]]
    assert counts(report.dropped) == {
        inbreast.NO_FILE: 1,
        UNREADABLE: 1,
        inbreast.REPEATED: 1,
        inbreast.NO_IMAGE_NAME: 2,
        inbreast.NO_ROW: 1,
        inbreast.SECOND_COPY: 1,
        inbreast.XML_WITHOUT_IMAGE: 1,
        inbreast.BAD_XML: 1,
        inbreast.BAD_REGION: 1,
    }
    assert counts(report.mended) == {inbreast.VIEW_OF_NAME: 1}
    assert counts(report.flagged) == {
        inbreast.NO_DENSITY: 1,
        inbreast.UNKNOWN_NAME: 1,
        inbreast.OUTSIDE: 1,
        inbreast.POINTS_DIFFER: 1,
        inbreast.NO_OUTLINES: 2,
        inbreast.CONTRADICTION: 1,
    }
    assert report.counts == {"specks of one or two points": 3}


def test_the_patient_comes_from_the_name_of_the_file(scanned: Scanned) -> None:
    """The table says "removed". ML in a name is MLO."""
    found, _ = scanned
    assert {one.patient for one in found.values()} == {ANA, EVA}
    views = {name: (one.side, one.view) for name, one in found.items()}
    assert views["20586934"] == ("LEFT", "MLO")
    assert views["50994300"] == ("RIGHT", "FB")
    assert views["53582560"] == ("RIGHT", "MLO")
    assert found["20586908"].exam == f"{ANA}_201001"


def test_categories_are_numbers_and_only_1_and_2_are_outcomes(scanned: Scanned) -> None:
    """4a, 4b and 4c are 4; INbreast has no pathology, so even BI-RADS 6 has no outcome."""
    found, _ = scanned
    assert [one.assessment for one in found.values()] == [1, 2, 4, 4, 5, 6, 3, 1, 4]
    labels = {name: one.label.outcome for name, one in found.items() if one.label}
    assert labels == {"20586908": Outcome.NORMAL, "20586934": Outcome.BENIGN}
    label = found["20586908"].label
    assert label is not None
    assert (label.unit, label.source) == (LabelUnit.BREAST, LabelSource.ASSESSMENT)
    assert "".join(one.density or "-" for one in found.values()) == "bbccd-aaa"


def test_an_image_is_all_marked_if_its_outlines_are_complete(scanned: Scanned) -> None:
    """Neither a missing or damaged XML file nor a lost region lets tissue count as normal."""
    found, _ = scanned
    assert [name for name, one in found.items() if one.all_marked] == [
        "20586908",
        "20586934",
        "20586960",
        "20586986",
        "50994300",
    ]


def test_outlines_are_those_that_were_drawn(scanned: Scanned) -> None:
    """Points are (x, y) in the file and (row, column) here; a speck stays a point."""
    found, _ = scanned
    for name, regions in REGIONS.items():
        drawn = [tuple((y, x) for x, y in points) for _, points in regions if points]
        assert [finding.outlines for finding in found[name].findings] == [(outline,) for outline in drawn]


def test_dirty_names_become_kinds(scanned: Scanned) -> None:
    """Misspelled and plural names are one kind; a cluster is calcifications in a cluster."""
    kinds = {name: [finding.kind for finding in one.findings] for name, one in scanned[0].items()}
    assert kinds["20586934"] == ["calcification", "calcification"]
    assert kinds["20586960"] == ["mass", "spiculated region"]
    assert kinds["20586986"] == ["asymmetry", "finding"]
    assert kinds["50994300"] == ["calcification", "architectural distortion", "asymmetry", "spiculated region"]
    assert scanned[0]["50994300"].findings[0].attributes == {"distribution": "cluster"}


def test_pixels_are_those_that_were_written(source: Path, scanned: Scanned) -> None:
    """14 bits are kept."""
    one = scanned[0]["20586908"]
    assert (one.height, one.width) == (60, 40)
    assert (INbreast().read(FolderFiles(source), one).grey == grey_image(0, bits=14) << 2).all()


def test_the_workbook_adds_marks_of_kinds(source: Path, tmp_path: Path) -> None:
    """An X for a kind without an outline means that not all is marked."""
    write_inbreast(tmp_path)
    header, *lines = table_lines()
    wide = [[*header, "Mass ", "Micros "], *[[*line, "X", ""] for line in lines]]
    write_workbook(tmp_path / "INbreast.xlsx", {"Sheet1": [["INbreast"], *wide]})
    found, report = scan(INbreast(), tmp_path)
    assert list(found) == [name for name, *_ in IMAGES[:-1]]
    assert found["20586960"].all_marked
    assert not found["20586934"].all_marked
    assert report.flagged[inbreast.NOT_OUTLINED].count == 7


def test_the_old_workbook_is_refused_with_what_to_do(tmp_path: Path) -> None:
    """Only INbreast.xls is there."""
    (tmp_path / "INbreast.xls").write_bytes(b"\xd0\xcf\x11\xe0")
    with pytest.raises(InvalidInput, match=r"INbreast.xls .* Save it as INbreast.xlsx"):
        scan(INbreast(), tmp_path)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    """The message names the missing table."""
    with pytest.raises(InvalidInput, match=r"no file INbreast.xlsx or INbreast.csv"):
        scan(INbreast(), tmp_path)


@pytest.mark.parametrize("content", [{"Images": {}}, {"Images": [{"ROIs": "x"}]}, {"Images": [{"ROIs": [1, {}]}]}, []])
def test_a_property_list_of_another_shape_is_counted(tmp_path: Path, content: dict[str, object] | list[object]) -> None:
    """The image is kept, and not all of it is marked."""
    write_inbreast(tmp_path)
    (tmp_path / "INbreast Release 1.0" / "AllXML" / "20586960.xml").write_bytes(plistlib.dumps(content))
    found, report = scan(INbreast(), tmp_path)
    assert not found["20586960"].all_marked
    assert report.dropped[inbreast.BAD_XML].count + report.dropped[inbreast.BAD_REGION].count > 2
