"""INbreast: 410 images of 115 patients, with BI-RADS categories and outlines of every finding.

    INbreast.csv or INbreast.xlsx
    AllDICOMs/<File Name>_<patient>_MG_<L|R>_<CC|ML|FB>_ANON.dcm    AllXML/<File Name>.xml

The patient is known from the names of the DICOM files only. The set has no pathology: an image of BI-RADS 1 is normal,
one of BI-RADS 2 is benign; the others have a category, but no outcome.
"""

import plistlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from services.common.errors import InvalidInput, NotFound
from services.imaging.licence import Licence
from services.training.raw.case import Finding, Label, LabelSource, LabelUnit, Outcome, RawMammogram
from services.training.raw.layout import Layout
from services.training.raw.outlines import LARGEST_ANNOTATION, leaves, point_outline
from services.training.raw.report import ImportReport
from services.training.raw.source.dicom_headers import header_or_drop
from services.training.raw.source.fields import category, date, density, side, view, whole
from services.training.raw.source.files import SourceFiles, name_parts
from services.training.raw.source.tables import LARGEST_TABLE, Row, csv_rows, sheet_rows, table_named

COLUMNS = ("File Name", "Laterality", "View", "ACR", "Bi-Rads")
KINDS: dict[str, tuple[str, dict[str, str]]] = {
    "mass": ("mass", {}),
    "calcification": ("calcification", {}),
    "calcifications": ("calcification", {}),
    "cluster": ("calcification", {"distribution": "cluster"}),
    "asymmetry": ("asymmetry", {}),
    "assymetry": ("asymmetry", {}),
    "distortion": ("architectural distortion", {}),
    "spiculated region": ("spiculated region", {}),
    "espiculated region": ("spiculated region", {}),
}
"""Kind and attributes of a region by its name in the XML files."""
MARKS = {
    "Mass": "mass",
    "Micros": "calcification",
    "Distortion": "architectural distortion",
    "Asymmetry": "asymmetry",
}
"""Columns of the workbook with an X for each kind of finding in an image."""
UNKNOWN = "finding"
UNKNOWN_SIZE = (0, 0)
MOST_REGIONS = 20_000
SUFFIXES = ("dcm", "png", "tif", "tiff")
VIEWS = {"ML": "MLO"}
"""The names of the files write ML for MLO."""

NO_IMAGE_NAME = "row names no image, such as the totals"
NO_FILE = "image file is missing"
NO_ROW = "image has no row in the table"
REPEATED = "row repeats an image"
SECOND_COPY = "second file of an image"
XML_WITHOUT_IMAGE = "XML file of an image without a row"
BAD_XML = "XML file cannot be read"
BAD_REGION = "region of an XML file cannot be read"
VIEW_OF_NAME = "side or view taken from the name of the file"
UNKNOWN_NAME = "region has no known name"
POINTS_DIFFER = "region has another number of points than it states"
OUTSIDE = "outline leaves the image"
NO_OUTLINES = "BI-RADS 2 or above, but no outlines"
NOT_OUTLINED = "marked in the table, but not outlined"
CONTRADICTION = "BI-RADS 1, but with outlines: not labelled"
OTHER_SIDE = "table and file name disagree about side or view"
NO_CATEGORY = "no BI-RADS category"
NO_DENSITY = "no density"

_IMAGE = re.compile(r"(?i)(\d+)_([0-9a-f]+)_MG_([LR])_(CC|MLO|ML|FB)_ANON")
_POINT = re.compile(r"\(\s*([-+.\deE]{1,40})\s*,\s*([-+.\deE]{1,40})\s*\)")

_Size = tuple[int, int]
"""Height and width."""


@dataclass(frozen=True)
class _Image:
    """An image file, and what its name says."""

    file: str
    patient: str
    side: str
    view: str


@dataclass(frozen=True)
class _Regions:
    """The outlined findings of an image. `complete` is false if it has no XML file or a region was lost."""

    findings: tuple[Finding, ...]
    complete: bool


class INbreast(Layout):
    """INbreast Release 1.0."""

    name: ClassVar[str] = "inbreast"
    title: ClassVar[str] = "INbreast"
    licence: ClassVar[Licence] = Licence(
        name="INbreast: on request from its authors; copies state no clear terms",
        citation="Moreira et al., INbreast: Toward a full-field digital mammographic database, Academic Radiology "
        "19(2):236-248 (2012)",
        url="https://doi.org/10.1016/j.acra.2011.09.014",
    )

    def scan(self, files: SourceFiles, report: ImportReport) -> Iterator[RawMammogram]:
        """Yield the images in the order of the table."""
        rows = _rows(files, report)
        images = _images(files, report)
        outlines = {name_parts(name).stem: name for name in files.names if _lies_in(name, "allxml", ("xml",))}
        seen = set[str]()
        for row in rows:
            name = _image_name(row)
            image = images.pop(name, None)
            if image is None:
                reason = NO_IMAGE_NAME if not name else REPEATED if name in seen else NO_FILE
                report.drop(reason, row.where)
                continue
            seen.add(name)
            xml = outlines.pop(name, "")
            size = _size(files, image.file, report)
            if size is not None:
                yield _mammogram(name, row, image, size, _regions(files, xml, size, report), report)
        for image in images.values():
            report.drop(NO_ROW, files.where(image.file))
        for xml in outlines.values():
            report.drop(XML_WITHOUT_IMAGE, files.where(xml))


def _rows(files: SourceFiles, report: ImportReport) -> Iterator[Row]:
    """The rows of the table. The workbook wins, since it has more columns."""
    bases = {name.rpartition("/")[2].lower() for name in files.names}
    if "inbreast.xls" in bases and not bases & {"inbreast.xlsx", "inbreast.csv"}:
        raise InvalidInput(
            "INbreast.xls is a workbook of the old binary kind, which is not read. Save it as INbreast.xlsx, or as "
            "INbreast.csv with semicolons, next to it"
        )
    table = table_named(files, "INbreast.xlsx", "INbreast.csv")
    if table.lower().endswith(".xlsx"):
        return sheet_rows(files, table, COLUMNS, report=report)
    return csv_rows(files, table, COLUMNS, ";", _encoding(files, table), report)


def _encoding(files: SourceFiles, table: str) -> str:
    """UTF-8, or that of Windows, in which the set was written."""
    try:
        files.read(table, LARGEST_TABLE).decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8-sig"


def _images(files: SourceFiles, report: ImportReport) -> dict[str, _Image]:
    found: dict[str, _Image] = {}
    for name in files.names:
        match = _IMAGE.fullmatch(name_parts(name).stem)
        if match and _lies_in(name, "alldicoms", SUFFIXES):
            shown = match[4].upper()
            if match[1] in found:
                report.drop(SECOND_COPY, files.where(name))
                continue
            found[match[1]] = _Image(name, match[2].lower(), side(match[3]), VIEWS.get(shown, shown))
    return found


def _lies_in(name: str, folder: str, suffixes: Sequence[str]) -> bool:
    parts = name_parts(name)
    return parts.suffix in suffixes and parts.folders[-1:] != () and parts.folders[-1].lower() == folder


def _image_name(row: Row) -> str:
    """The number that names an image; a spreadsheet may have given it decimals. Empty if there is none."""
    name = row["File Name"].removesuffix(".0")
    return name if name.isascii() and name.isdigit() else ""


def _size(files: SourceFiles, file: str, report: ImportReport) -> _Size | None:
    """The size of an image as its header states it; None if it is dropped."""
    if not file.lower().endswith(".dcm"):
        return UNKNOWN_SIZE
    header = header_or_drop(files, file, report)
    return None if header is None else (header.rows, header.columns)


def _mammogram(
    name: str, row: Row, image: _Image, size: _Size, regions: _Regions, report: ImportReport
) -> RawMammogram:
    shown_side, shown_view = _side_and_view(row, image, report)
    assessment, dense = category(row["Bi-Rads"]), density(row["ACR"])
    if assessment is None:
        report.flag(NO_CATEGORY, row.where)
    if not dense:
        report.flag(NO_DENSITY, row.where)
    label = _label(assessment, regions.findings, row.where, report)
    complete = _is_complete(assessment, regions, row, report)
    return RawMammogram(
        name=name,
        file=image.file,
        patient=image.patient,
        exam=f"{image.patient}_{date(row.get('Acquisition date'))}",
        side=shown_side,
        view=shown_view,
        label=label,
        density=dense,
        assessment=assessment,
        findings=regions.findings,
        all_marked=complete or (label is not None and label.outcome is Outcome.NORMAL),
        height=size[0],
        width=size[1],
    )


def _side_and_view(row: Row, image: _Image, report: ImportReport) -> tuple[str, str]:
    shown_side, shown_view = side(row["Laterality"]), view(row["View"])
    shown_view = VIEWS.get(shown_view, shown_view)
    if not (shown_side and shown_view):
        report.mend(VIEW_OF_NAME, row.where)
    elif (shown_side, shown_view) != (image.side, image.view):
        report.flag(OTHER_SIDE, row.where)
    return shown_side or image.side, shown_view or image.view


def _label(assessment: int | None, findings: Sequence[Finding], where: str, report: ImportReport) -> Label | None:
    if assessment == 1 and findings:
        report.flag(CONTRADICTION, where)
        return None
    if assessment == 1:
        return Label(Outcome.NORMAL, LabelUnit.BREAST, LabelSource.ASSESSMENT)
    if assessment == 2:
        return Label(Outcome.BENIGN, LabelUnit.BREAST, LabelSource.ASSESSMENT)
    return None


def _is_complete(assessment: int | None, regions: _Regions, row: Row, report: ImportReport) -> bool:
    """Whether each finding of an image is outlined: it has outlines, and one of each kind that the table marks. An
    image of BI-RADS 1 with outlines contradicts itself, so it is not."""
    outlined = {finding.kind for finding in regions.findings}
    marked = {kind for column, kind in MARKS.items() if row.get(column).upper() == "X"}
    if marked - outlined:
        report.flag(NOT_OUTLINED, row.where)
    if assessment is not None and assessment != 1 and not outlined:
        report.flag(NO_OUTLINES, row.where)
    return regions.complete and bool(outlined) and marked <= outlined and assessment != 1


def _regions(files: SourceFiles, xml: str, size: _Size, report: ImportReport) -> _Regions:
    """The outlined findings of an XML file, if there is one."""
    if not xml:
        return _Regions((), complete=False)
    try:
        regions = _parse(files.read(xml, LARGEST_ANNOTATION))
    except (InvalidInput, NotFound):
        report.drop(BAD_XML, files.where(xml))
        return _Regions((), complete=False)
    found = [_finding(region, f"{files.where(xml)}:{place}", size, report) for place, region in enumerate(regions)]
    findings = tuple(finding for finding in found if finding is not None)
    return _Regions(findings, complete=len(findings) == len(regions))


def _parse(content: bytes) -> list[object]:
    """The regions of a property list. plistlib refuses entities, so that a small file cannot expand."""
    try:
        regions = plistlib.loads(content, fmt=plistlib.FMT_XML)["Images"][0]["ROIs"]
    except Exception as error:  # plistlib raises many kinds for a damaged file, and so does a list of another shape
        raise InvalidInput("it is not a property list with Images and ROIs") from error
    if not isinstance(regions, list) or len(regions) > MOST_REGIONS:
        raise InvalidInput(f"its ROIs are not a list of at most {MOST_REGIONS}")
    return regions


def _finding(region: object, where: str, size: _Size, report: ImportReport) -> Finding | None:
    points = region.get("Point_px") if isinstance(region, dict) else None
    pairs = [_POINT.fullmatch(str(point).strip()) for point in points] if isinstance(points, list) else []
    known = [(pair[2], pair[1]) for pair in pairs if pair is not None]  # x is the column, y the row
    outline = point_outline(known) if len(known) == len(pairs) else None
    if not isinstance(region, dict) or outline is None:
        report.drop(BAD_REGION, where)
        return None
    if whole(region.get("NumberOfPoints")) != len(outline):
        report.flag(POINTS_DIFFER, where)
    if leaves([outline], *size):
        report.flag(OUTSIDE, where)
    if len(outline) < 3:
        report.count("specks of one or two points")
    kind, attributes = KINDS.get(str(region.get("Name", "")).strip().lower(), (UNKNOWN, {}))
    if kind == UNKNOWN:
        report.flag(UNKNOWN_NAME, where)
    return Finding(kind, (outline,), attributes=attributes)
