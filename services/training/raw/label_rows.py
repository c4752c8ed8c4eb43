"""Reads labels that a lab writes in a table: outcome with unit and source, BI-RADS categories, split, and findings.

Both layouts of own files use these columns. A cell that cannot be read loses its value, not its row. A finding whose
place cannot be read is still known to exist, so it stays, without outlines.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from services.common.errors import InvalidInput
from services.imaging.geometry import box_outline
from services.imaging.patches import Outline
from services.training.raw.case import Finding, Label, LabelSource, LabelUnit, Outcome
from services.training.raw.outlines import parse_json, point_outline
from services.training.raw.report import ImportReport
from services.training.raw.source import fields

BAD_OUTCOME = "outcome is not normal, benign or malignant"
NO_UNIT = "the outcome has no unit (image, breast or patient), so it is no label"
NO_SOURCE = "the outcome has no source (pathology, BI-RADS or screening), so it is no label"
BAD_ASSESSMENT = "assessment is no BI-RADS category, 0 to 6"
BAD_DENSITY = "density is no BI-RADS category, a to d"
BAD_SPLIT = "split is not train, val or test"
BAD_BOX = "box is incomplete, or has no area: the finding has no place"
BAD_OUTLINE = "outline is no list of [row, column] points: the finding has no place"
OUTSIDE = "finding lies outside of the image: it has no place"
LABELS_DIFFER = "rows state different outcomes of one image: it stays unlabelled"
VALUES_DIFFER = "rows state different values for one image: none was used"

EDGES = ("top", "left", "bottom", "right")
UNITS = {unit.value: unit for unit in LabelUnit}
SOURCES = {
    "pathology": LabelSource.PATHOLOGY,
    "bi-rads": LabelSource.ASSESSMENT,
    "birads": LabelSource.ASSESSMENT,
    "assessment": LabelSource.ASSESSMENT,
    "screening": LabelSource.SCREENING,
}
SPLITS = ("train", "val", "test")
YES = ("yes", "true", "1")
WORST = (Outcome.MALIGNANT, Outcome.BENIGN, Outcome.NORMAL)
LONGEST_KIND = 40

Cells = Callable[[str], str]
"""The text of a row by column, empty if there is none."""


@dataclass(frozen=True)
class RowLabels:
    """What a row, or all rows of an image together, say of it."""

    label: Label | None = None
    assessment: int | None = None
    density: str = ""
    split: str = ""
    findings: tuple[Finding, ...] = ()
    all_marked: bool = False


def read_labels(cells: Cells, report: ImportReport, place: str) -> RowLabels:
    """Read the columns outcome, unit, source, assessment, density, split and all_marked of a row, and its box."""
    outcome = read_outcome(cells, report, place)
    assessment = read_assessment(cells, report, place)
    box = read_box(cells, report, place)
    marked = any(cells(edge) for edge in EDGES)
    finding = Finding(read_kind(cells), (box,) if box else (), outcome, assessment) if marked else None
    return RowLabels(
        label=_label(outcome, cells, report, place),
        assessment=assessment,
        density=_checked(cells("density"), fields.density, BAD_DENSITY, report, place),
        split=_checked(cells("split").lower(), _split, BAD_SPLIT, report, place),
        findings=(finding,) if finding else (),
        all_marked=cells("all_marked").lower() in YES,
    )


def read_outcome(cells: Cells, report: ImportReport, place: str) -> Outcome | None:
    """The outcome of a row."""
    text = cells("outcome").lower()
    if text and text not in set(Outcome):
        report.drop(BAD_OUTCOME, place)
        return None
    return Outcome(text) if text else None


def read_assessment(cells: Cells, report: ImportReport, place: str) -> int | None:
    """The BI-RADS category of a row."""
    text = cells("assessment")
    found = fields.category(text) if text else None
    if text and found is None:
        report.drop(BAD_ASSESSMENT, place)
    return found


def read_kind(cells: Cells) -> str:
    """The kind of finding of a row in lower case; "finding" if the row does not state it."""
    return cells("kind").lower()[:LONGEST_KIND] or "finding"


def read_box(cells: Cells, report: ImportReport, place: str) -> Outline | None:
    """The box of a row with the columns top, left, bottom and right, in pixels."""
    texts = [cells(edge) for edge in EDGES]
    if not any(texts):
        return None
    edges = [number for number in map(fields.number, texts) if number is not None]
    if len(edges) < len(EDGES) or edges[0] >= edges[2] or edges[1] >= edges[3]:
        report.drop(BAD_BOX, place)
        return None
    return box_outline(*edges)


def read_outline(cells: Cells, report: ImportReport, place: str) -> Outline | None:
    """The outline of a row: JSON such as `[[10, 20], [10, 40], [30, 30]]`, rows first."""
    text = cells("outline")
    if not text:
        return None
    outline = _points(text)
    if outline is None:
        report.drop(BAD_OUTLINE, place)
    return outline


def _points(text: str) -> Outline | None:
    try:
        found = parse_json(text, "outline")
    except InvalidInput:
        return None
    if not isinstance(found, list) or not all(isinstance(point, list) and len(point) == 2 for point in found):
        return None
    return point_outline([(row, column) for row, column in found])


def combined(rows: Sequence[RowLabels], report: ImportReport, place: str) -> RowLabels:
    """What all rows of an image say together.

    A row without a finding states the label of the image. If there are only rows with findings, the worst outcome is
    the label. Rows that contradict each other state nothing.
    """
    plain = {row.label for row in rows if row.label and not row.findings}
    if len(plain) > 1:
        report.flag(LABELS_DIFFER, place)
    marked = [row.label for row in rows if row.label and row.findings]
    worst = min(marked, key=lambda label: WORST.index(label.outcome), default=None)
    return RowLabels(
        label=(plain.pop() if len(plain) == 1 else None) if plain else worst,
        assessment=fields.worst_category(row.assessment for row in rows),
        density=_agreed((row.density for row in rows), report, place),
        split=_agreed((row.split for row in rows), report, place),
        findings=tuple(finding for row in rows for finding in row.findings),
        all_marked=bool(rows) and all(row.all_marked for row in rows),
    )


def inside(
    findings: Iterable[Finding], height: int, width: int, report: ImportReport, place: str
) -> tuple[Finding, ...]:
    """The findings, without outlines that lie outside of the image completely. These are reported."""
    kept = []
    for finding in findings:
        outlines = tuple(outline for outline in finding.outlines if not _is_outside(outline, height, width))
        if len(outlines) < len(finding.outlines):
            report.drop(OUTSIDE, place)
        kept.append(replace(finding, outlines=outlines))
    return tuple(kept)


def _is_outside(outline: Outline, height: int, width: int) -> bool:
    rows, columns = [row for row, _ in outline], [column for _, column in outline]
    return max(rows) < 0 or max(columns) < 0 or min(rows) >= height or min(columns) >= width


def _label(outcome: Outcome | None, cells: Cells, report: ImportReport, place: str) -> Label | None:
    if outcome is None:
        return None
    unit, source = UNITS.get(cells("unit").lower()), SOURCES.get(cells("source").lower())
    if unit is None or source is None:
        report.drop(NO_UNIT if unit is None else NO_SOURCE, place)
        return None
    return Label(outcome, unit, source)


def _split(text: str) -> str:
    return text if text in SPLITS else ""


def _checked(text: str, read: Callable[[str], str], reason: str, report: ImportReport, place: str) -> str:
    found = read(text) if text else ""
    if text and not found:
        report.drop(reason, place)
    return found


def _agreed(values: Iterable[str], report: ImportReport, place: str) -> str:
    found = {value for value in values if value}
    if len(found) > 1:
        report.flag(VALUES_DIFFER, place)
    return found.pop() if len(found) == 1 else ""
