"""CMMD: 5,202 images of 1,775 Chinese patients with pathology, and the outlines of TOMPEI-CMMD if they are there.

    CMMD_clinicaldata_revision.xlsx (or .csv)    CMMD/<D1-0001>/<study>/<series>/1-1.dcm
    and anywhere in the source what services/training/raw/layouts/cmmd/tompei.py reads

A row of the sheet labels a breast. A breast without a row is unlabelled and never normal: it is the other breast of a
patient with a cancer, and nobody has stated that it is healthy.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from services.common.errors import InvalidInput, NotFound
from services.imaging.licence import Licence, Term
from services.imaging.pixels import decode_pixels
from services.training.raw.case import Label, LabelSource, LabelUnit, Outcome, RawMammogram
from services.training.raw.layout import Layout
from services.training.raw.layouts.cmmd.sides import OTHER, WRONG_SIDES, SidedImage, place, shown_side
from services.training.raw.layouts.cmmd.tompei import EXCLUDED, NORMAL, Breast, Drawn, Tompei, read_tompei
from services.training.raw.report import ImportReport
from services.training.raw.source.dicom_headers import header_or_drop
from services.training.raw.source.fields import side
from services.training.raw.source.files import SourceFiles, name_parts
from services.training.raw.source.tables import Row, csv_rows, sheet_rows, table_named

TABLES = ("CMMD_clinicaldata_revision.xlsx", "CMMD_clinicaldata_revision.csv")
COLUMNS = ("ID1", "LeftRight", "classification")
OUTCOMES = {"malignant": Outcome.MALIGNANT, "benign": Outcome.BENIGN}
ABNORMALITIES = {
    "mass": frozenset({"mass"}),
    "calcification": frozenset({"calcification"}),
    "both": frozenset({"mass", "calcification"}),
}
"""Kinds of findings that a labelled breast has."""
TWINS = (("D1-0202", "D2-0284"), ("D1-0808", "D1-1292"))
"""Pairs of patients that share images: the same woman under two identifiers."""

BAD_ROW = "row has no patient, side or classification"
CONFLICT = "rows of a breast disagree about its classification: not labelled"
ROW_WITHOUT_IMAGE = "row of a breast without images"
NO_SIDE = "side or view is missing in the header"
TWIN = "same pixels as an image of another patient"
ONE_PATIENT = "same woman as another patient: both count as one"
VIEW_TWICE = "patient has a view of a breast twice"
NO_MAMMOGRAM = "outlines without one MLO view of this patient and side"
OTHER_BREAST = "TOMPEI-CMMD finds the lesion in the other breast: not labelled"
TO_EXCLUDE = "TOMPEI-CMMD recommends not to use this breast"

_PATIENT = re.compile(r"(?i)D[12]-\d{4}")


@dataclass(frozen=True)
class _Labelled:
    """A row of the sheet: a breast with its pathology."""

    outcome: Outcome | None
    kinds: frozenset[str]
    where: str


class CMMD(Layout):
    """The Chinese Mammography Database, with TOMPEI-CMMD."""

    name: ClassVar[str] = "cmmd"
    title: ClassVar[str] = "CMMD"
    licence: ClassVar[Licence] = Licence(
        name="CC BY 4.0",
        citation="Cui et al., The Chinese Mammography Database (CMMD), The Cancer Imaging Archive (2021), "
        "https://doi.org/10.7937/tcia.eqde-4b16",
        url="https://creativecommons.org/licenses/by/4.0/",
        terms=(Term.ATTRIBUTION,),
    )

    def scan(self, files: SourceFiles, report: ImportReport) -> Iterator[RawMammogram]:
        """Yield the images patient by patient."""
        labelled = _labelled(files, report)
        tompei = read_tompei(files, report)
        by_patient = _files_by_patient(files)
        same_woman = _drop_twins(files, by_patient, report)
        used = set[Breast]()
        for patient, names in by_patient.items():
            images = _images(files, names, report)
            rows = {shown: row for shown in OTHER if (row := labelled.get((patient, shown)))}
            used |= {(patient, shown) for shown in rows if images}
            if patient in WRONG_SIDES:
                images, rows = _corrected(files, patient, images, rows, tompei, report)
            rows = _without_contradicted(patient, rows, tompei, report)
            yield from _mammograms(patient, same_woman.get(patient, patient), images, rows, tompei, report)
        for breast, row in labelled.items():
            if breast not in used:
                report.drop(ROW_WITHOUT_IMAGE, row.where)
        for drawn in tompei.drawn.values():
            report.drop(NO_MAMMOGRAM, files.where(drawn.file))


def _labelled(files: SourceFiles, report: ImportReport) -> dict[Breast, _Labelled]:
    """The rows of the sheet, by breast."""
    found: dict[Breast, _Labelled] = {}
    table = table_named(files, *TABLES)
    is_sheet = table.lower().endswith(".xlsx")
    read_rows = sheet_rows if is_sheet else csv_rows
    for row in read_rows(files, table, COLUMNS, report=report):
        outcome = OUTCOMES.get(row["classification"].lower())
        breast = (row["ID1"].upper(), side(row["LeftRight"]))
        if outcome is None or not all(breast):
            report.drop(BAD_ROW, row.where)
            continue
        known = found.get(breast)
        if known is not None and known.outcome is not outcome:
            report.flag(CONFLICT, row.where)
            outcome = None
        found[breast] = _Labelled(outcome, _kinds(row), row.where)
    return found


def _kinds(row: Row) -> frozenset[str]:
    return ABNORMALITIES.get(row.get("abnormality").lower(), frozenset())


def _files_by_patient(files: SourceFiles) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in files.names:
        parts = name_parts(name)
        patient = next((folder.upper() for folder in parts.folders if _PATIENT.fullmatch(folder)), "")
        if patient and parts.suffix == "dcm":
            found.setdefault(patient, []).append(name)
    if not found:
        raise InvalidInput("the source has no files <patient>/…/*.dcm, such as D1-0001/…/1-1.dcm")
    return found


def _drop_twins(files: SourceFiles, by_patient: dict[str, list[str]], report: ImportReport) -> dict[str, str]:
    """Remove the images that another patient has too, by their pixels. Return which patients are known under another
    identifier."""
    known_as = {}
    for first, second in TWINS:
        pixels = {_fingerprint(files, name) for name in by_patient.get(first, [])} - {""}
        twins = [name for name in by_patient.get(second, []) if pixels and _fingerprint(files, name) in pixels]
        for name in twins:
            report.drop(TWIN, files.where(name))
        if twins:
            report.mend(ONE_PATIENT, second)
            known_as[second] = first
            by_patient[second] = [name for name in by_patient[second] if name not in twins]
    return known_as


def _fingerprint(files: SourceFiles, name: str) -> str:
    """A hash of the pixels of a file, empty if they cannot be read."""
    try:
        grey = decode_pixels(files.read(name), files.where(name)).grey
    except (InvalidInput, NotFound):
        return ""
    return hashlib.sha256(str(grey.shape).encode() + grey.tobytes()).hexdigest()


def _images(files: SourceFiles, names: Sequence[str], report: ImportReport) -> list[SidedImage]:
    found = []
    for name in names:
        header = header_or_drop(files, name, report)
        if header is None:
            continue
        if not (header.side and header.view):
            report.flag(NO_SIDE, files.where(name))
        found.append(SidedImage(name, header.side, header.view, header.rows, header.columns))
    return found


def _corrected(
    files: SourceFiles,
    patient: str,
    images: Sequence[SidedImage],
    rows: Mapping[str, _Labelled],
    tompei: Tompei,
    report: ImportReport,
) -> tuple[list[SidedImage], dict[str, _Labelled]]:
    placed = place(images, frozenset(rows), tompei.sides(patient), lambda file: shown_side(files, file), report)
    return placed.images, {OTHER[shown] if placed.moved else shown: row for shown, row in rows.items()}


def _without_contradicted(
    patient: str, rows: Mapping[str, _Labelled], tompei: Tompei, report: ImportReport
) -> dict[str, _Labelled]:
    """Leave out the row of a patient's only labelled breast if TOMPEI-CMMD finds nothing there, but in the other."""
    kept = dict(rows)
    for shown, row in rows.items():
        here, there = tompei.readings.get((patient, shown)), tompei.readings.get((patient, OTHER[shown]))
        if len(rows) == 1 and here and there and here.found == NORMAL and there.found not in (NORMAL, EXCLUDED, ""):
            report.flag(OTHER_BREAST, row.where)
            kept.clear()
    return kept


def _mammograms(
    patient: str,
    woman: str,
    images: Sequence[SidedImage],
    rows: Mapping[str, _Labelled],
    tompei: Tompei,
    report: ImportReport,
) -> Iterator[RawMammogram]:
    views = [(image.side, image.view) for image in images]
    for index, (image, shown) in enumerate(zip(images, views, strict=True)):
        before = views[:index].count(shown)
        if before:
            report.flag(VIEW_TWICE, image.file)
        drawn = None
        if image.view == "MLO" and views.count(shown) == 1 and not image.doubtful:
            drawn = tompei.drawn.pop((patient, image.side), None)
        name = f"{patient}_{image.side or 'UNKNOWN'}_{image.view or 'UNKNOWN'}{f'_{before + 1}' if before else ''}"
        yield _mammogram(name, patient, woman, image, rows.get(image.side), drawn, tompei, report)


def _mammogram(
    name: str,
    patient: str,
    woman: str,
    image: SidedImage,
    row: _Labelled | None,
    drawn: Drawn | None,
    tompei: Tompei,
    report: ImportReport,
) -> RawMammogram:
    outcome = row.outcome if row is not None and not image.doubtful else None
    reading = tompei.readings.get((patient, image.side))
    if outcome is None:
        report.count("images of unlabelled breasts")
    if reading is not None and reading.found == EXCLUDED:
        report.flag(TO_EXCLUDE, image.file)
    findings = drawn.findings if drawn is not None else ()
    outlined = {finding.kind for finding in findings}
    complete = drawn is not None and drawn.complete and row is not None and bool(row.kinds) and row.kinds <= outlined
    return RawMammogram(
        name=name,
        file=image.file,
        patient=woman,
        exam=patient,
        side=image.side,
        view=image.view,
        label=None if outcome is None else Label(outcome, LabelUnit.BREAST, LabelSource.PATHOLOGY),
        density=reading.density if reading is not None else "",
        # An unlabelled breast has no category either: a low one must not make it a negative.
        assessment=reading.assessment if reading is not None and outcome is not None else None,
        findings=findings,
        all_marked=outcome is not None and complete,
        height=image.height,
        width=image.width,
    )
