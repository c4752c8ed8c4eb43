"""Tables and files of sources that are damaged or hostile."""

import io
import zipfile
from pathlib import Path

import pytest

from services.common.blobs import FolderBlobs
from services.common.errors import InvalidInput, NotFound
from services.training.raw.report import ImportReport
from services.training.raw.source.files import BucketFiles, FolderFiles, NameParts, name_parts
from services.training.raw.source.tables import (
    EXTRA_CELLS,
    MOST_LINES,
    SEVERAL_LINES,
    TOO_WIDE,
    csv_rows,
    sheet_rows,
    table_named,
)
from tests.fakes.raw.plain_files import write_workbook
from tests.unit.training.raw.scanning import counts


def test_a_row_with_too_many_cells_does_not_end_the_import(tmp_path: Path) -> None:
    """It is dropped; without a report it is an error."""
    (tmp_path / "a.csv").write_text("x,y\n1,2\n1,2,3\n3,4\n")
    files, report = FolderFiles(tmp_path), ImportReport()
    assert [row["x"] for row in csv_rows(files, "a.csv", ["x"], report=report)] == ["1", "3"]
    assert counts(report.dropped) == {TOO_WIDE: 1}
    assert report.dropped[TOO_WIDE].examples == ["a.csv:3"]
    with pytest.raises(InvalidInput, match=r"a\.csv:3 has 3 cells"):
        list(csv_rows(files, "a.csv", ["x"]))


def test_a_table_is_found_in_any_folder(tmp_path: Path) -> None:
    """The first name wins; two files of one name are refused."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "Table.csv").write_text("")
    assert table_named(FolderFiles(tmp_path), "other.csv", "table.csv") == "deep/Table.csv"
    (tmp_path / "table.csv").write_text("")
    with pytest.raises(InvalidInput, match=r"2 files table\.csv"):
        table_named(FolderFiles(tmp_path), "table.csv")


def test_short_lines_of_a_sheet_are_filled(tmp_path: Path) -> None:
    """Every row has all columns."""
    write_workbook(tmp_path / "a.xlsx", {"one": [["title"], ["x", "y"], [1], [2, 3]]})
    rows = list(sheet_rows(FolderFiles(tmp_path), "a.xlsx", ["x", "y"]))
    assert [dict(row.cells) for row in rows] == [{"x": "1", "y": ""}, {"x": "2", "y": "3"}]


def test_a_sheet_that_claims_billions_of_lines_is_refused(tmp_path: Path) -> None:
    """The number of a row would stand for empty lines before it."""
    write_workbook(tmp_path / "a.xlsx", {"one": [["x"], [1]]})
    content = io.BytesIO()
    with zipfile.ZipFile(tmp_path / "a.xlsx") as original, zipfile.ZipFile(content, "w") as changed:
        for member in original.namelist():
            changed.writestr(member, original.read(member).replace(b'<row r="2"', b'<row r="9999999999"'))
    (tmp_path / "a.xlsx").write_bytes(content.getvalue())
    with pytest.raises(InvalidInput, match=f"more than {MOST_LINES} lines"):
        list(sheet_rows(FolderFiles(tmp_path), "a.xlsx", ["x"]))


def test_the_head_of_a_file_is_read_from_folder_and_bucket(tmp_path: Path) -> None:
    """A shorter file is read whole, and a missing one is NotFound."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.bin").write_bytes(b"0123456789")
    blobs = FolderBlobs(tmp_path / "blobs")
    blobs.put("raw", "set/a.bin", b"0123456789")
    for files in (FolderFiles(tmp_path / "folder"), BucketFiles(blobs, "raw", "set/")):
        assert files.head("a.bin", 4) == b"0123"
        assert files.head("a.bin", 100) == b"0123456789"
        with pytest.raises(NotFound):
            files.head("b.bin", 4)


def test_names_are_split_into_folders_stem_and_suffix() -> None:
    """A name without a suffix, or that begins with a dot, has none."""
    assert name_parts("a/b.c/D.e.DCM") == NameParts(("a", "b.c"), "D.e", "dcm")
    assert name_parts("plain") == NameParts((), "plain", "")
    assert name_parts(".hidden") == NameParts((), ".hidden", "")


def test_rows_that_a_quote_swallows_are_flagged(tmp_path: Path) -> None:
    """A quote that is not closed makes the rest of the table one cell, which the report names. Line breaks at the end
    of a cell, as in CBIS-DDSM, are no sign of it."""
    (tmp_path / "a.csv").write_text('x,y\n"1\n",2\n"3,4\n5,6\n')
    files, report = FolderFiles(tmp_path), ImportReport()
    rows = [dict(row.cells) for row in csv_rows(files, "a.csv", ["x"], report=report)]
    assert rows == [{"x": "1", "y": "2"}, {"x": "3,4\n5,6", "y": ""}]
    assert report.flagged[SEVERAL_LINES].examples == ["a.csv:5"]


def test_text_beyond_the_columns_of_a_sheet_is_flagged(tmp_path: Path) -> None:
    """The row is kept: notes next to a table are common."""
    write_workbook(tmp_path / "a.xlsx", {"one": [["x", "y"], [1, 2, "note"], [3, 4, None]]})
    report = ImportReport()
    rows = [row["x"] for row in sheet_rows(FolderFiles(tmp_path), "a.xlsx", ["x", "y"], report=report)]
    assert rows == ["1", "3"]
    assert report.flagged[EXTRA_CELLS].examples == ["a.xlsx:2"]
