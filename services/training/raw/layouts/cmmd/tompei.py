"""TOMPEI-CMMD: outlines and readings that radiologists added to CMMD. They lie in a folder anywhere in the source.

    TOMPEI-CMMD_v01_…/<patient>_MLO_<L|R>_AnnotationFile.json    TOMPEI-CMMD_clinical_data_v01_….xlsx

Its sides are the right ones; those of CMMD's files are wrong for some patients. There are outlines of MLO views only.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.common.errors import InvalidInput
from services.training.raw.case import Finding
from services.training.raw.outlines import LARGEST_ANNOTATION, parse_json, point_outline
from services.training.raw.report import ImportReport
from services.training.raw.source.fields import category, side
from services.training.raw.source.files import SourceFiles, name_parts, named
from services.training.raw.source.tables import sheet_lines

Breast = tuple[str, str]
"""Patient and side."""
SHEET = "Imaging Diagnosis Details Sheet"
PATIENT, SIDE, FOUND, DENSITY, CATEGORY = 0, 1, 3, 5, 21
"""Places of columns. The sheet has two or three lines of names, so that no single line names them all."""
KINDS: dict[str, tuple[str, dict[str, str]]] = {
    "mass": ("mass", {}),
    "calc": ("calcification", {}),
    "dist": ("architectural distortion", {}),
    "fa": ("focal asymmetry", {}),
    "fad": ("focal asymmetry", {}),
    "lipoma": ("mass", {"type": "lipoma"}),
}
DENSITIES = {"fatty": "a", "scattered": "b", "heterogeneous": "c", "extremely": "d"}
"""BI-RADS density by the first word of the sheet's."""
NORMAL, EXCLUDED = "normal", "exclusion"
MOST_REGIONS = 1000

JUNK = "file of the archive of a Macintosh"
BAD_FILE = "file of outlines cannot be read"
BAD_REGION = "outline cannot be read"
BAD_SHEET = "sheet of TOMPEI-CMMD cannot be read"
UNKNOWN_KIND = "outline has no known label"

_FILE = re.compile(r"(?i)(D[12]-\d{4})_MLO_([LR])_AnnotationFile")
_PATIENT = re.compile(r"D[12]-\d{4}")


@dataclass(frozen=True)
class Drawn:
    """The outlined findings of an MLO view. `complete` is false if an outline was lost."""

    file: str
    findings: tuple[Finding, ...]
    complete: bool


@dataclass(frozen=True)
class Reading:
    """What the radiologists of TOMPEI-CMMD found in a breast: malignant, benign, invisible, normal or exclusion.
    "Normal" includes a benign breast whose finding cannot be seen, so it is no label."""

    found: str
    density: str
    assessment: int | None


@dataclass(frozen=True)
class Tompei:
    """All outlines and readings, by breast."""

    drawn: dict[Breast, Drawn] = field(default_factory=dict)
    readings: Mapping[Breast, Reading] = field(default_factory=dict)

    def sides(self, patient: str) -> frozenset[str]:
        """The sides on which a patient has a reading."""
        return frozenset(shown for shown in ("LEFT", "RIGHT") if (patient, shown) in self.readings)


def read_tompei(files: SourceFiles, report: ImportReport) -> Tompei:
    """Read the outlines and the sheet, as far as they are there."""
    found: dict[Breast, Drawn] = {}
    for name in named(files, "*AnnotationFile.json"):
        if "__macosx/" in name.lower() or name.rpartition("/")[2].startswith("._"):
            report.drop(JUNK, files.where(name))
            continue
        match = _FILE.fullmatch(name_parts(name).stem)
        drawn = _drawn(files, name, report) if match else None
        if match is None or drawn is None:
            report.drop(BAD_FILE, files.where(name))
        else:
            found[match[1].upper(), side(match[2])] = drawn
    return Tompei(found, _readings(files, report))


def _readings(files: SourceFiles, report: ImportReport) -> dict[Breast, Reading]:
    found: dict[Breast, Reading] = {}
    for name in named(files, "*TOMPEI-CMMD_clinical_data*.xlsx"):
        try:
            for line in sheet_lines(files, name, SHEET):
                cells = [*line, *[""] * (CATEGORY + 1)]
                if _PATIENT.fullmatch(cells[PATIENT]) and side(cells[SIDE]):
                    found.setdefault((cells[PATIENT], side(cells[SIDE])), _reading(cells))
        except InvalidInput:
            report.drop(BAD_SHEET, files.where(name))
    return found


def _reading(cells: list[str]) -> Reading:
    dense = next((letter for word, letter in DENSITIES.items() if cells[DENSITY].lower().startswith(word)), "")
    return Reading(cells[FOUND].lower(), dense, category(cells[CATEGORY]))


def _drawn(files: SourceFiles, name: str, report: ImportReport) -> Drawn | None:
    try:
        regions = parse_json(files.read(name, LARGEST_ANNOTATION), files.where(name))
    except InvalidInput:
        return None
    if not isinstance(regions, list) or len(regions) > MOST_REGIONS:
        return None
    found = [_finding(region, f"{files.where(name)}:{place}", report) for place, region in enumerate(regions)]
    findings = tuple(finding for finding in found if finding is not None)
    return Drawn(name, findings, complete=0 < len(findings) == len(regions))


def _finding(region: object, where: str, report: ImportReport) -> Finding | None:
    points = region.get("cgPoints") if isinstance(region, dict) else None
    pairs = [(point.get("y"), point.get("x")) for point in points or [] if isinstance(point, dict)]
    outline = point_outline(pairs) if isinstance(points, list) and len(pairs) == len(points) else None
    if not isinstance(region, dict) or outline is None:
        report.drop(BAD_REGION, where)
        return None
    kind, attributes = KINDS.get(str(region.get("label", "")).strip().lower(), ("finding", {}))
    if kind == "finding":
        report.flag(UNKNOWN_KIND, where)
    return Finding(kind, (outline,), attributes=attributes)
