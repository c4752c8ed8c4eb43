"""CDD-CESM: low-energy and subtracted contrast-enhanced mammograms of 326 patients, with outlines and pathology.

    "Low energy images of CDD-CESM"/P<id>_<L|R>_DM_<CC|MLO>.jpg    "Subtracted images of CDD-CESM"/P<id>_<L|R>_CM_….jpg
    Radiology-manual-annotations.xlsx    Radiology_hand_drawn_segmentations_v2.csv

Only low-energy images are read: they look like other mammograms, the subtracted ones do not. The sheet `all` has one or
several rows for an image; the worst one decides its label.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from services.common.errors import InvalidInput
from services.imaging.licence import Licence, Term
from services.imaging.patches import Outline
from services.training.raw.case import Finding, Label, LabelSource, LabelUnit, Outcome, RawMammogram
from services.training.raw.layout import Layout
from services.training.raw.layouts.cdd_cesm.via import read_via
from services.training.raw.report import ImportReport
from services.training.raw.source.fields import category, density, side, worst_category
from services.training.raw.source.files import SourceFiles, name_parts, one_named
from services.training.raw.source.tables import Row, sheet_rows

WORKBOOK, OUTLINES = "*radiology?manual?annotations.xlsx", "*radiology?hand?drawn?segmentations*.csv"
SHEET, MASSES = "all", "mass_description"
PATHOLOGY = "Pathology Classification/ Follow up"
COLUMNS = ("Image_name", "BIRADS", PATHOLOGY)
OUTCOMES = {"normal": Outcome.NORMAL, "benign": Outcome.BENIGN, "malignant": Outcome.MALIGNANT}
WORST_LAST = (Outcome.NORMAL, Outcome.BENIGN, Outcome.MALIGNANT)
KIND_WORDS = (
    (re.compile(r"(?<!non )(?<!non-)\bmass(?:es)?\b"), "mass"),
    (re.compile(r"calcification"), "calcification"),
    (re.compile(r"distortion"), "architectural distortion"),
    (re.compile(r"asymmetr"), "asymmetry"),
)
"""Words of the findings and tags of a row, with the kind that they name."""
MASS_COLUMNS = {"Mass shape": "shape", "Mass margin": "margin", "Mass density": "density"}
MISSPELLED = {"speculated": "spiculated", "heterogenous": "heterogeneous", "assymetry": "asymmetry"}

SUBTRACTED = "subtracted image: only low-energy images are read"
SUBTRACTED_OUTLINE = "outline of a subtracted image"
BAD_NAME = "row names no image"
NO_FILE = "image file is missing"
NO_ROW = "low-energy image has no row in the sheet"
SECOND_COPY = "second file of an image"
NO_IMAGE = "outline of an image without a row"
NO_MASSES = "sheet of masses cannot be read: findings have no shape or margin"
BLANK = "name has a blank before its suffix"
SPELLING = "spelling corrected"
SEVERAL_CATEGORIES = "several BI-RADS categories in one field: the worst counts"
SEVERAL_OUTCOMES = "rows of an image disagree about its pathology: the worst counts"
BAD_OUTCOME = "pathology is not one of Normal, Benign, Malignant: not labelled"
CONTRADICTION = "normal, but with outlines: not labelled"
OTHER_SIDE = "sheet and name disagree about side or view"

_NAME = re.compile(r"(?i)P(\d+)_([LR])_(DM|CM)_(CC|MLO)\w*")
SUFFIXES = ("jpg", "jpeg", "png")


@dataclass(frozen=True)
class _Drawn:
    """The outlines of an image, and how many regions it has: some may not be readable."""

    outlines: tuple[Outline, ...] = ()
    regions: int = 0

    @property
    def complete(self) -> bool:
        """Whether the image has regions, and all of them could be read."""
        return 0 < self.regions == len(self.outlines)


class CddCesm(Layout):
    """The Categorized Digital Database for Low energy and Subtracted Contrast Enhanced Spectral Mammography."""

    name: ClassVar[str] = "cdd-cesm"
    title: ClassVar[str] = "CDD-CESM"
    licence: ClassVar[Licence] = Licence(
        name="CC BY 4.0",
        citation="Khaled et al., Categorized contrast enhanced mammography dataset for diagnostic and artificial "
        "intelligence research, Scientific Data 9:122 (2022)",
        url="https://creativecommons.org/licenses/by/4.0/",
        terms=(Term.ATTRIBUTION,),
    )

    def scan(self, files: SourceFiles, report: ImportReport) -> Iterator[RawMammogram]:
        """Yield the low-energy images in the order of the sheet."""
        workbook = one_named(files, WORKBOOK)
        rows = _rows(files, workbook, report)
        images = _image_files(files, report)
        drawn = _drawn(files, rows, report)
        masses = _masses(files, workbook, report)
        for name, of_image in rows.items():
            if _is_subtracted(name, of_image[0]):
                report.drop(SUBTRACTED, of_image[0].where)
                continue
            file = images.pop(name, "")
            if not file:
                report.drop(NO_FILE, of_image[0].where)
                continue
            yield _mammogram(name, file, of_image, drawn.get(name, _Drawn()), masses.get(name, []), report)
        for file in images.values():
            report.drop(NO_ROW, files.where(file))


def _rows(files: SourceFiles, workbook: str, report: ImportReport) -> dict[str, list[Row]]:
    """The rows of the sheet by the name of their image."""
    found: dict[str, list[Row]] = {}
    for row in sheet_rows(files, workbook, COLUMNS, SHEET, report):
        name = _stem(row["Image_name"])
        if _NAME.fullmatch(name):
            found.setdefault(name, []).append(row)
        else:
            report.drop(BAD_NAME, row.where)
    return found


def _stem(name: str) -> str:
    """The name of an image without its suffix and without blanks around it."""
    parts = name_parts(name)
    return (parts.stem if parts.suffix in SUFFIXES else name.rpartition("/")[2]).strip()


def _has_blank(name: str) -> bool:
    return name_parts(name).stem.endswith(" ")


def _is_subtracted(name: str, row: Row | None = None) -> bool:
    found = _NAME.fullmatch(name)
    of_name = found is not None and found[3].upper() == "CM"
    return of_name or (row is not None and row.get("Type").upper() in ("CESM", "CM"))


def _image_files(files: SourceFiles, report: ImportReport) -> dict[str, str]:
    """The low-energy images, by name."""
    found: dict[str, str] = {}
    for file in files.names:
        name = _stem(file)
        if name_parts(file).suffix in SUFFIXES and _NAME.fullmatch(name) and not _is_subtracted(name):
            if _has_blank(file):
                report.mend(BLANK, files.where(file))
            if found.setdefault(name, file) != file:
                report.drop(SECOND_COPY, files.where(file))
    return found


def _drawn(files: SourceFiles, rows: dict[str, list[Row]], report: ImportReport) -> dict[str, _Drawn]:
    """The outlines of low-energy images, by name."""
    found: dict[str, _Drawn] = {}
    for region in read_via(files, one_named(files, OUTLINES), report):
        name = _stem(region.file)
        if _is_subtracted(name):
            report.drop(SUBTRACTED_OUTLINE, region.where)
            continue
        if name not in rows:
            report.drop(NO_IMAGE, region.where)
            continue
        if _has_blank(region.file):
            report.mend(BLANK, region.where)
        known = found.get(name, _Drawn())
        outlines = (*known.outlines, region.outline) if region.outline else known.outlines
        found[name] = _Drawn(outlines, known.regions + 1)
    return found


def _masses(files: SourceFiles, workbook: str, report: ImportReport) -> dict[str, list[Row]]:
    """The rows of the sheet of masses, by image."""
    found: dict[str, list[Row]] = {}
    try:
        for row in sheet_rows(files, workbook, ("Image_name",), MASSES, report):
            found.setdefault(_stem(row["Image_name"]), []).append(row)
    except InvalidInput:
        report.flag(NO_MASSES, files.where(workbook))
    return found


def _mammogram(
    name: str, file: str, rows: Sequence[Row], drawn: _Drawn, masses: Sequence[Row], report: ImportReport
) -> RawMammogram:
    found = _NAME.fullmatch(name)
    patient, shown_side, shown_view = (f"P{found[1]}", side(found[2]), found[4].upper()) if found else ("", "", "")
    if _disagrees(rows[0], shown_side, shown_view):
        report.flag(OTHER_SIDE, rows[0].where)
    label = _label(rows, drawn, report)
    normal = label is not None and label.outcome is Outcome.NORMAL
    return RawMammogram(
        name=name,
        file=file,
        patient=patient,
        exam=patient,
        side=shown_side,
        view=shown_view,
        label=label,
        density=next(filter(None, (density(row.get("Breast density (ACR)")) for row in rows)), ""),
        assessment=worst_category(_category(row, report) for row in rows),
        findings=_findings(rows, drawn, masses, report),
        all_marked=normal or (label is not None and drawn.complete),
    )


def _disagrees(row: Row, shown_side: str, shown_view: str) -> bool:
    stated_side, stated_view = side(row.get("Side")), row.get("View").upper()
    return stated_side not in ("", shown_side) or stated_view not in ("", shown_view)


def _category(row: Row, report: ImportReport) -> int | None:
    """The worst of the categories of a row, which may be several: `4$2`."""
    categories = row["BIRADS"].split("$")
    if len(categories) > 1:
        report.flag(SEVERAL_CATEGORIES, row.where)
    return worst_category(category(found) for found in categories)


def _label(rows: Sequence[Row], drawn: _Drawn, report: ImportReport) -> Label | None:
    outcomes = {OUTCOMES.get(row[PATHOLOGY].lower()) for row in rows}
    known = [outcome for outcome in WORST_LAST if outcome in outcomes]
    if None in outcomes:
        report.flag(BAD_OUTCOME, rows[0].where)
        return None
    if len(known) > 1:
        report.flag(SEVERAL_OUTCOMES, rows[0].where)
    if known[-1] is Outcome.NORMAL and drawn.regions:
        report.flag(CONTRADICTION, rows[0].where)
        return None
    return Label(known[-1], LabelUnit.IMAGE, LabelSource.PATHOLOGY)


def _findings(rows: Sequence[Row], drawn: _Drawn, masses: Sequence[Row], report: ImportReport) -> tuple[Finding, ...]:
    """The outlined findings. The table of outlines does not say which row an outline belongs to, so a finding has a
    kind only if the rows name one kind, and an outcome only if there is one row."""
    if not drawn.outlines:
        return ()
    kinds = {kind for row in rows for kind in _kinds(row)} | ({"mass"} if masses else set())
    kind = kinds.pop() if len(kinds) == 1 else "finding"
    attributes = _attributes(masses[0], report) if kind == "mass" and len(masses) == 1 else {}
    outcome = OUTCOMES.get(rows[0][PATHOLOGY].lower()) if len(rows) == 1 else None
    outcome = None if outcome is Outcome.NORMAL else outcome
    return tuple(Finding(kind, (outline,), outcome, attributes=attributes) for outline in drawn.outlines)


def _kinds(row: Row) -> list[str]:
    text = f"{row.get('Findings')} {row.get('Tags')}".lower()
    return [kind for word, kind in KIND_WORDS if word.search(text)]


def _attributes(row: Row, report: ImportReport) -> dict[str, str]:
    """Shape, margin and density of a mass in lower case, spelled as in BI-RADS."""
    found = {}
    for column, attribute in MASS_COLUMNS.items():
        text = row.get(column).lower()
        spelled = text
        for wrong, right in MISSPELLED.items():
            spelled = spelled.replace(wrong, right)
        if spelled != text:
            report.mend(SPELLING, row.where)
        if spelled:
            found[attribute] = spelled
    return found
