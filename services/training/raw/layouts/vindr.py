"""VinDr-Mammo: 5,000 studies of four views with BI-RADS of each breast and boxes around suspicious findings.

    images/<study_id>/<image_id>.dicom    or 8-bit copies: images_png/<study_id>/<image_id>.png
    breast-level_annotations.csv  finding_annotations.csv

The set has no pathology, and its readers boxed suspicious findings only. So a breast of BI-RADS 1 is normal and one of
BI-RADS 2 is benign; the others have a category, but no outcome.
"""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from services.imaging.dicom.header import Intent
from services.imaging.licence import Licence, Term
from services.training.raw.case import Finding, Label, LabelSource, LabelUnit, Outcome, RawMammogram
from services.training.raw.layout import Layout
from services.training.raw.outlines import clipped_box
from services.training.raw.report import ImportReport
from services.training.raw.source.dicom_headers import header_or_drop
from services.training.raw.source.fields import category, density, side, size_of, view
from services.training.raw.source.files import SourceFiles, name_parts
from services.training.raw.source.tables import Row, csv_rows, table_named

BREASTS, FINDINGS = "breast-level_annotations.csv", "finding_annotations.csv"
BREAST_COLUMNS = ("study_id", "image_id", "laterality", "view_position", "breast_birads")
FINDING_COLUMNS = ("image_id", "finding_categories", "finding_birads", "xmin", "ymin", "xmax", "ymax")
EDGES = ("ymin", "xmin", "ymax", "xmax")
NO_FINDING = "no finding"
KINDS = {"suspicious calcification": "calcification", "suspicious lymph node": "lymph node"}
"""Names of findings that BI-RADS calls otherwise. All others are BI-RADS terms in capitals."""
SPLITS = {"training": "train", "test": "test"}
LONGEST_CATEGORIES = 1000
"""Characters of the list of a box's categories."""

NO_FILE = "image file is missing"
NO_ROW = "image has no row in breast-level_annotations.csv"
REPEATED = "row repeats an image"
FOR_PROCESSING = "image is For Processing"
NO_IMAGE = "finding of an image that breast-level_annotations.csv does not list"
BAD_CATEGORIES = "categories of a finding cannot be read"
BAD_BOX = "box of a finding is incomplete, empty or outside of the image"
CLIPPED = "box left the image and was clipped"
SECOND_COPY = "8-bit copy of an image that is there as DICOM"
NO_CATEGORY = "box has no BI-RADS category"
VIEW_TWICE = "study has a view of a breast twice"
CONTRADICTION = "breast of BI-RADS 1 or 2 has a box: not labelled"
NO_SIDE = "side or view is missing"

FOLDERS = ("images", "images_png")
SUFFIXES = ("dicom", "dcm", "png")


@dataclass(frozen=True)
class _Box:
    """A row with a finding. A row that cannot be read has no kinds: the image has a finding, but it is not known
    what or where."""

    kinds: tuple[str, ...]
    assessment: int | None
    edges: tuple[str, ...]
    where: str


@dataclass
class _Studies:
    """The views and series of each study so far."""

    views: set[tuple[str, str, str]] = field(default_factory=set)
    series: dict[str, set[str]] = field(default_factory=dict)

    def add(self, row: Row, report: ImportReport) -> None:
        """Note a row, and flag it if its study has this view already."""
        shown = (row["study_id"], row["laterality"], row["view_position"])
        if shown in self.views:
            report.flag(VIEW_TWICE, row.where)
        self.views.add(shown)
        self.series.setdefault(row["study_id"], set()).add(row.get("series_id"))

    @property
    def with_two_series(self) -> int:
        """The number of studies with more than one series."""
        return sum(len(series) > 1 for series in self.series.values())


class VinDr(Layout):
    """VinDr-Mammo as PhysioNet serves it, or its 8-bit PNG copies."""

    name: ClassVar[str] = "vindr"
    title: ClassVar[str] = "VinDr-Mammo"
    licence: ClassVar[Licence] = Licence(
        name="PhysioNet restricted data use agreement",
        citation="Nguyen et al., VinDr-Mammo: A large-scale benchmark dataset for computer-aided diagnosis in "
        "full-field digital mammography, Scientific Data 10:277 (2023)",
        url="https://physionet.org/content/vindr-mammo/",
        terms=(Term.NO_REDISTRIBUTION,),
    )

    def scan(self, files: SourceFiles, report: ImportReport) -> Iterator[RawMammogram]:
        """Yield the images in the order of the breast-level table."""
        table = table_named(files, BREASTS)
        boxes = _boxes(files, report)
        images = _image_files(files, report)
        studies, names = _Studies(), set[str]()
        for row in csv_rows(files, table, BREAST_COLUMNS, report=report):
            name = row["image_id"]
            file = images.pop((row["study_id"], name), "")
            if name in names or not file:
                report.drop(REPEATED if name in names else NO_FILE, row.where)
                continue
            names.add(name)
            studies.add(row, report)
            of_image = boxes.pop(name, [])
            if _is_usable(files, file, report):
                yield _mammogram(row, file, of_image, report)
        report.count("studies with two series", studies.with_two_series)
        for file in images.values():
            report.drop(NO_ROW, files.where(file))
        for box in (box for of_image in boxes.values() for box in of_image):
            report.drop(NO_IMAGE, box.where)


def _image_files(files: SourceFiles, report: ImportReport) -> dict[tuple[str, str], str]:
    """Image files by study and image. The DICOM wins where there is a PNG too."""
    found: dict[tuple[str, str], str] = {}
    for name in files.names:
        parts = name_parts(name)
        if parts.suffix not in SUFFIXES or len(parts.folders) < 2 or parts.folders[-2].lower() not in FOLDERS:
            continue
        key = (parts.folders[-1], parts.stem)
        first = found.get(key, name)
        kept = first if parts.suffix == "png" else name
        if key in found:
            report.drop(SECOND_COPY, files.where(first if kept == name else name))
        found[key] = kept
    return found


def _is_usable(files: SourceFiles, file: str, report: ImportReport) -> bool:
    if file.lower().endswith(".png"):
        return True
    header = header_or_drop(files, file, report)
    if header is None:
        return False
    if header.intent is Intent.PROCESSING:
        report.drop(FOR_PROCESSING, files.where(file))
    return header.intent is not Intent.PROCESSING


def _boxes(files: SourceFiles, report: ImportReport) -> dict[str, list[_Box]]:
    """The rows with a finding, by image."""
    found: dict[str, list[_Box]] = {}
    for row in csv_rows(files, table_named(files, FINDINGS), FINDING_COLUMNS, report=report):
        kinds = _kinds(row["finding_categories"])
        if kinds == (NO_FINDING,):
            continue
        if not kinds:
            report.drop(BAD_CATEGORIES, row.where)
        box = _Box(kinds, category(row["finding_birads"]), tuple(row[edge] for edge in EDGES), row.where)
        found.setdefault(row["image_id"], []).append(box)
    return found


def _kinds(text: str) -> tuple[str, ...]:
    """The kinds of a box from a Python list in text: "['Suspicious Calcification', 'Mass']". Empty if it is none."""
    try:
        names = ast.literal_eval(text) if len(text) <= LONGEST_CATEGORIES else None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return ()
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        return ()
    lowered = [name.strip().lower() for name in names]
    kinds = dict.fromkeys(KINDS.get(name, name) for name in lowered)
    return tuple(kind for kind in kinds if kind != NO_FINDING) or tuple(kinds)


def _mammogram(row: Row, file: str, boxes: Sequence[_Box], report: ImportReport) -> RawMammogram:
    height, width = size_of(row.get("height")), size_of(row.get("width"))
    shown_side, shown_view = side(row["laterality"]), view(row["view_position"])
    if not (shown_side and shown_view):
        report.flag(NO_SIDE, row.where)
    assessment = category(row["breast_birads"])
    label = _label(assessment, boxes, report, row.where)
    return RawMammogram(
        name=row["image_id"],
        file=file,
        patient=row["study_id"],
        exam=row["study_id"],
        side=shown_side,
        view=shown_view,
        label=label,
        density=density(row.get("breast_density")),
        assessment=assessment,
        findings=tuple(finding for box in boxes for finding in _findings(box, height, width, report)),
        all_marked=label is not None and label.outcome is Outcome.NORMAL,  # benign findings have no boxes
        split=SPLITS.get(row.get("split").lower(), ""),
        height=height,
        width=width,
    )


def _label(assessment: int | None, boxes: Sequence[_Box], report: ImportReport, where: str) -> Label | None:
    outcome = {1: Outcome.NORMAL, 2: Outcome.BENIGN}.get(assessment if assessment is not None else -1)
    if outcome is None:
        return None
    if boxes:
        report.flag(CONTRADICTION, where)
        return None
    return Label(outcome, LabelUnit.BREAST, LabelSource.ASSESSMENT)


def _findings(box: _Box, height: int, width: int, report: ImportReport) -> list[Finding]:
    """A finding for each kind of a box."""
    if not box.kinds:
        return []
    found = clipped_box(box.edges, height, width)
    if found is None:
        report.drop(BAD_BOX, box.where)
        return []
    outline, clipped = found
    if clipped:
        report.mend(CLIPPED, box.where)
    if box.assessment is None:
        report.flag(NO_CATEGORY, box.where)
    return [Finding(kind, (outline,), assessment=box.assessment) for kind in box.kinds]
