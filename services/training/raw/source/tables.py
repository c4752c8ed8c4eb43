"""Reads the tables of sources, CSV and Excel, as rows of text. Every cell is stripped of blanks around it."""

import csv
import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import openpyxl

from services.common.errors import InvalidInput
from services.training.raw.report import ImportReport
from services.training.raw.source.files import SourceFiles

LARGEST_TABLE = 1 << 30
"""Bytes of a table that is read."""
LARGEST_CELL = 1 << 20
LARGEST_UNPACKED = 1 << 30
"""Bytes of an unpacked workbook: a small file can unpack to more than the memory."""
MOST_LINES = 1 << 20
"""Lines of a sheet, as in Excel. A damaged number of a row would otherwise stand for billions of empty lines."""

TOO_WIDE = "row has more cells than the table has columns"
EXTRA_CELLS = "row of a sheet has text beyond its columns, which was not read"
SEVERAL_LINES = "row spans several lines of its file: if a quote is not closed, the rows behind it are part of a cell"

csv.field_size_limit(LARGEST_CELL)


@dataclass(frozen=True)
class Row:
    """A row of a table: text by column, and where it is, such as `train.csv:17`."""

    cells: Mapping[str, str]
    where: str

    def __getitem__(self, column: str) -> str:
        return self.cells[column]

    def get(self, column: str) -> str:
        """The text of a column, or empty text if the table does not have it."""
        return self.cells.get(column, "")


def table_named(files: SourceFiles, *names: str) -> str:
    """The file with one of these names in any folder of the source, the first name first. InvalidInput if there is
    none, or several in different folders."""
    for name in names:
        found = [file for file in files.names if file.rpartition("/")[2].lower() == name.lower()]
        if len(found) == 1:
            return found[0]
        if found:
            raise InvalidInput(f"the source has {len(found)} files {name}: {', '.join(found[:5])}; expected one")
    raise InvalidInput(f"the source has no file {' or '.join(names)}")


def text_lines(content: bytes, where: str) -> Iterator[tuple[str, str]]:
    """Yield the lines of a text that are not empty, without blanks around them, each with its place, such as
    `train.txt:17`. InvalidInput if the text is not UTF-8."""
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{where}: byte {error.start} is not utf-8") from error
    for number, line in enumerate(lines, 1):
        if text := line.strip():
            yield text, f"{where}:{number}"


def csv_rows(
    files: SourceFiles,
    name: str,
    required: Sequence[str],
    delimiter: str = ",",
    encoding: str = "utf-8-sig",
    report: ImportReport | None = None,
) -> Iterator[Row]:
    """Yield the rows of a CSV file with a line of column names. Rows without any text are left out.

    InvalidInput if a required column is missing or the text cannot be read. A row that has more cells than there are
    columns is dropped from the report's import; without a report it is InvalidInput too. A row with a line break inside
    of a cell is flagged.
    """
    where = files.where(name)
    try:
        text = files.read(name, LARGEST_TABLE).decode(encoding)
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{where}: byte {error.start} is not {encoding}") from error
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        columns = [column.strip() for column in next(reader, [])]
        _require(columns, required, where)
        for cells in reader:
            place = f"{where}:{reader.line_num}"
            if len(cells) > len(columns):
                if report is None:
                    raise InvalidInput(f"{place} has {len(cells)} cells; expected {len(columns)}")
                report.drop(TOO_WIDE, place)
            elif any(cell.strip() for cell in cells):
                padded = [*(cell.strip() for cell in cells), *[""] * (len(columns) - len(cells))]
                if report is not None and any("\n" in cell or "\r" in cell for cell in padded):
                    report.flag(SEVERAL_LINES, place)
                yield Row(dict(zip(columns, padded, strict=True)), place)
    except csv.Error as error:
        raise InvalidInput(f"{where}:{reader.line_num}: {error}") from error


def sheet_rows(
    files: SourceFiles, name: str, required: Sequence[str], sheet: str = "", report: ImportReport | None = None
) -> Iterator[Row]:
    """Yield the rows of a sheet of an Excel workbook (.xlsx), or of its first one. The line of column names is the
    first one that contains all required columns; repeated names get a number. Rows without any text are left out, and
    rows with text beyond the columns are flagged."""
    where = f"{files.where(name)}{f' [{sheet}]' if sheet else ''}"
    lines = _sheet_lines(files.read(name, LARGEST_TABLE), where, sheet)
    columns: list[str] | None = None
    for number, cells in enumerate(lines, 1):
        if columns is None:
            columns = _numbered(cells) if set(required) <= set(cells) else None
        elif any(cells):
            if report is not None and any(cells[len(columns) :]):
                report.flag(EXTRA_CELLS, f"{where}:{number}")
            padded = [*cells, *[""] * (len(columns) - len(cells))]
            yield Row(dict(zip(columns, padded, strict=False)), f"{where}:{number}")
    if columns is None:
        _require([], required, where)


def sheet_lines(files: SourceFiles, name: str, sheet: str = "") -> Iterator[list[str]]:
    """Yield all lines of a sheet as text, for a sheet whose columns have no single line of names."""
    where = f"{files.where(name)}{f' [{sheet}]' if sheet else ''}"
    return _sheet_lines(files.read(name, LARGEST_TABLE), where, sheet)


def _sheet_lines(content: bytes, where: str, sheet: str) -> Iterator[list[str]]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > LARGEST_UNPACKED:
            raise InvalidInput(f"{where} unpacks to {unpacked} bytes; at most {LARGEST_UNPACKED} are read")
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    except InvalidInput:
        raise
    except Exception as error:  # openpyxl raises many kinds for a damaged workbook
        raise InvalidInput(f"{where} is not a workbook: {error}") from error
    if sheet and sheet not in book.sheetnames:
        raise InvalidInput(f"{where}: there is no such sheet; the workbook has {', '.join(book.sheetnames)}")
    try:
        table = book[sheet or book.sheetnames[0]]
        table.reset_dimensions()  # lines are as wide as their cells, whatever size the sheet claims
        for number, line in enumerate(table.iter_rows(values_only=True)):
            if number == MOST_LINES:
                raise InvalidInput(f"{where} has more than {MOST_LINES} lines")
            yield ["" if cell is None else str(cell).strip() for cell in line]
    except InvalidInput:
        raise
    except Exception as error:  # a damaged sheet is found only while it is read
        raise InvalidInput(f"{where} cannot be read: {error}") from error


def _numbered(columns: Sequence[str]) -> list[str]:
    seen: dict[str, int] = {}
    names = []
    for column in columns:
        seen[column] = seen.get(column, 0) + 1
        names.append(column if seen[column] == 1 else f"{column} {seen[column]}")
    return names


def _require(columns: Sequence[str], required: Sequence[str], where: str) -> None:
    missing = [column for column in required if column not in columns]
    if missing:
        raise InvalidInput(f"{where} has no column {', '.join(missing)}; expected {', '.join(required)}")
