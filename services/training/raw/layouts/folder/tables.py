"""Reads the two tables of a folder of pictures: labels by image, and findings by image."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from services.training.raw.case import Finding, Mask
from services.training.raw.label_rows import (
    EDGES,
    Cells,
    RowLabels,
    read_assessment,
    read_box,
    read_kind,
    read_labels,
    read_outcome,
    read_outline,
)
from services.training.raw.layouts.folder.mapping import FolderMapping
from services.training.raw.report import ImportReport
from services.training.raw.source.files import SourceFiles
from services.training.raw.source.tables import Row, csv_rows

NO_FILE = "row names a file that the source does not have"
AMBIGUOUS = "row names a file that occurs several times"
NO_PLACE = "finding without a box, an outline or a mask: it has no place"
NO_MASK = "mask is a file that the source does not have: the finding has no place"


@dataclass(frozen=True)
class ImageRow:
    """A row of the table of labels: its cells for patient, exam, side and view, and what it says."""

    cells: Mapping[str, str]
    labels: RowLabels


@dataclass(frozen=True)
class FolderTables:
    """Both tables by file, and the files that are masks."""

    rows: Mapping[str, Sequence[ImageRow]]
    findings: Mapping[str, Sequence[Finding]]
    masks: frozenset[str]


class FileLookup:
    """Finds files by what tables call them: the whole name, the name without folders, or without suffix as well."""

    def __init__(self, names: Iterable[str]) -> None:
        self._whole = set(names)
        self._short: dict[str, list[str]] = defaultdict(list)
        for name in sorted(self._whole):
            base = name.rpartition("/")[2]
            for short in {base, base.rpartition(".")[0]} - {""}:
                self._short[short].append(name)

    def find(self, text: str, report: ImportReport, place: str, missing: str = NO_FILE) -> str:
        """The file that a cell names. Empty, and reported, if there is none or several."""
        text = text.replace("\\", "/").removeprefix("./")
        if text in self._whole:
            return text
        found = self._short.get(text, [])
        if len(found) != 1:
            report.drop(AMBIGUOUS if found else missing, place)
            return ""
        return found[0]


def read_tables(files: SourceFiles, mapping: FolderMapping, report: ImportReport) -> FolderTables:
    """Read both tables. InvalidInput if one has no column for the file.

    Masks often have the names of their images in another folder, so they are found first and then left out.
    """
    found = list(_finding_rows(files, mapping, report))
    masks = frozenset(mask for _, _, mask in found if mask)
    lookup = FileLookup(set(files.names) - masks)
    findings: dict[str, list[Finding]] = defaultdict(list)
    for place, cells, mask in found:
        name = lookup.find(cells("file"), report, place)
        if name:
            findings[name].append(_finding(cells, mask, report, place))
    return FolderTables(_image_rows(files, mapping, lookup, report), findings, masks)


def cells_of(row: Row, columns: Mapping[str, str], defaults: Mapping[str, str], mapping: FolderMapping) -> Cells:
    """The cells of a row by the names of the convention, with defaults and words replaced."""

    def read(column: str) -> str:
        text = row.get(columns.get(column, column)) or defaults.get(column, "")
        return mapping.word(column, text)

    return read


def _image_rows(
    files: SourceFiles, mapping: FolderMapping, lookup: FileLookup, report: ImportReport
) -> dict[str, list[ImageRow]]:
    found: dict[str, list[ImageRow]] = defaultdict(list)
    if mapping.labels not in files.names:
        return found
    columns = {str(name): other for name, other in mapping.columns.items()}
    defaults = {str(name): text for name, text in mapping.defaults.items()}
    for row in _rows(files, mapping.labels, mapping.column("file"), mapping, report):
        cells = cells_of(row, columns, defaults, mapping)
        name = lookup.find(cells("file"), report, row.where)
        if name:
            texts = {column: cells(column) for column in ("patient", "exam", "side", "view")}
            found[name].append(ImageRow(texts, read_labels(cells, report, row.where)))
    return found


def _finding_rows(files: SourceFiles, mapping: FolderMapping, report: ImportReport) -> Iterator[tuple[str, Cells, str]]:
    """The place of each row of findings, its cells, and the file of its mask."""
    if mapping.findings not in files.names:
        return
    columns = {str(name): other for name, other in mapping.finding_columns.items()}
    lookup = FileLookup(files.names)
    for row in _rows(files, mapping.findings, mapping.finding_column("file"), mapping, report):
        cells = cells_of(row, columns, {}, mapping)
        yield row.where, cells, lookup.find(cells("mask"), report, row.where, NO_MASK) if cells("mask") else ""


def _rows(files: SourceFiles, table: str, key: str, mapping: FolderMapping, report: ImportReport) -> Iterator[Row]:
    return csv_rows(files, table, [key], mapping.delimiter, mapping.encoding, report)


def _finding(cells: Cells, mask: str, report: ImportReport, place: str) -> Finding:
    """The finding of a row, whose place is its mask, else its outline, else its box."""
    outline = None if mask else read_outline(cells, report, place) or read_box(cells, report, place)
    if not any(cells(column) for column in ("mask", "outline", *EDGES)):
        report.flag(NO_PLACE, place)
    return Finding(
        kind=read_kind(cells),
        outlines=(outline,) if outline else (),
        outcome=read_outcome(cells, report, place),
        assessment=read_assessment(cells, report, place),
        mask=Mask(mask) if mask else None,
    )
