"""EMBED open data: mammograms of 22,382 patients of Emory, with findings and pathology by breast.

    tables/EMBED_OpenData_clinical.csv  tables/EMBED_OpenData_metadata.csv    or both with `_reduced`
    images/cohort_<1|2>/<patient>/<study>/<SOPInstanceUID>.dcm

A row of the clinical table is a finding, a row of the metadata a file. They are joined by exam and side: a finding
belongs to its own breast, one without a side to both.
"""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from services.imaging.licence import Licence, Term
from services.imaging.patches import Outline
from services.training.raw.case import Finding, Label, Outcome, RawMammogram
from services.training.raw.layout import Layout
from services.training.raw.layouts.embed.findings import (
    ClinicalRow,
    breast_category,
    breast_label,
    clinical_row,
    is_sided,
)
from services.training.raw.outlines import clipped_box
from services.training.raw.report import ImportReport
from services.training.raw.source.fields import side, size_of, view, whole
from services.training.raw.source.files import SourceFiles, name_parts
from services.training.raw.source.tables import Row, csv_rows, table_named

CLINICAL = ("EMBED_OpenData_clinical.csv", "EMBED_OpenData_clinical_reduced.csv")
METADATA = ("EMBED_OpenData_metadata.csv", "EMBED_OpenData_metadata_reduced.csv")
CLINICAL_COLUMNS = ("empi_anon", "acc_anon", "side", "asses")
METADATA_COLUMNS = ("empi_anon", "acc_anon", "FinalImageType", "ImageLateralityFinal", "ViewPosition")
LONGEST_REGIONS = 10_000
"""Characters of the list of a file's regions."""
MOST_REGIONS = 200
SECOND_MATCH_LEVEL = 2

SYNTHETIC = "synthetic image (C-view)"
TOMOSYNTHESIS = "tomosynthesis"
SCREEN_CAPTURE = "screen capture of a region"
OTHER_TYPE = "type of image is not known"
SPOT = "spot compression or magnification"
NO_FILE = "image file is missing"
REPEATED = "row repeats a file"
BAD_KEY = "row has no patient or exam"
BAD_SIDE = "side of a finding is none of L, R, B or empty"
NO_IMAGE = "finding of an exam without a usable image"
BAD_REGIONS = "regions of a file cannot be read"
BAD_REGION = "region is incomplete, empty or outside of the image"
CLIPPED = "region left the image and was clipped"
OTHER_FRAME = "regions are given for the other kind of file only"
UNPLACED = "pathology without a side, or of another side than its finding: not used"
NO_SIDE = "side of an image is missing: not labelled"
NO_CLINICAL = "exam has no row about this breast"
CONTRADICTION = "BI-RADS 1, but with a finding or region: not labelled"
NUMBER_DIFFERS = "file has another number of regions than it states"
SECOND_MATCH = "region was matched indirectly"
IMPLANT = "breast has an implant"

_DEPTH = 4
"""Parts of a path that name a file in every copy: cohort, patient, study and file."""
_DICOM = ("dcm", "dicom")
_PICTURE = "png"
_Exam = tuple[str, str]
"""Patient and exam."""


@dataclass(frozen=True)
class _ImageFiles:
    """The DICOM files by the end of their path, and the pictures by their name."""

    dicom: dict[str, str]
    pictures: dict[str, str]

    def of(self, row: Row) -> str:
        """The file of a row, empty if there is none. Roots of paths differ between copies, so only their end counts."""
        path, picture = row.get("anon_dicom_path"), row.get("png_filename") or row.get("png_path")
        return self.dicom.get(_tail(path), "") or self.pictures.get(_tail(picture, 1), "")


class Embed(Layout):
    """The EMory BrEast imaging Dataset, the part that is open."""

    name: ClassVar[str] = "embed"
    title: ClassVar[str] = "EMBED open data"
    licence: ClassVar[Licence] = Licence(
        name="EMBED data use agreement: research use",
        citation="Jeong et al., The EMory BrEast imaging Dataset (EMBED), Radiology: Artificial Intelligence 5(1) "
        "(2023), https://doi.org/10.1148/ryai.220047",
        url="https://github.com/Emory-HITI/EMBED_Open_Data",
        terms=(Term.NO_REDISTRIBUTION, Term.NO_WEIGHTS_RELEASE),
    )

    def scan(self, files: SourceFiles, report: ImportReport) -> Iterator[RawMammogram]:
        """Yield the 2D images in the order of the metadata."""
        metadata = table_named(files, *METADATA)
        clinical = _clinical(files, report)
        images = _image_files(files)
        used, exams = set[str](), set[_Exam]()
        for row in csv_rows(files, metadata, METADATA_COLUMNS, report=report):
            reason = _unusable(row)
            file = "" if reason else images.of(row)
            if reason or not file or file in used:
                report.drop(reason or (REPEATED if file else NO_FILE), row.where)
                continue
            used.add(file)
            exams.add(_exam(row))
            yield _mammogram(row, file, clinical.get(_exam(row), []), report)
        for exam, rows in clinical.items():
            for clinical_of in rows if exam not in exams else []:
                report.drop(NO_IMAGE, clinical_of.where)


def _clinical(files: SourceFiles, report: ImportReport) -> dict[_Exam, list[ClinicalRow]]:
    """The rows of the clinical table by exam."""
    found: dict[_Exam, list[ClinicalRow]] = {}
    for row in csv_rows(files, table_named(files, *CLINICAL), CLINICAL_COLUMNS, report=report):
        if not all(_exam(row)):
            report.drop(BAD_KEY, row.where)
        elif not is_sided(row):
            report.drop(BAD_SIDE, row.where)
        else:
            translated = clinical_row(row)
            if translated.unplaced:
                report.flag(UNPLACED, row.where)
            found.setdefault(_exam(row), []).append(translated)
    return found


def _exam(row: Row) -> _Exam:
    return row["empi_anon"].removesuffix(".0"), row["acc_anon"].removesuffix(".0")


def _image_files(files: SourceFiles) -> _ImageFiles:
    suffixes = {name: name_parts(name).suffix for name in files.names}
    dicom = {_tail(name): name for name, suffix in suffixes.items() if suffix in _DICOM}
    return _ImageFiles(dicom, {_tail(name, 1): name for name, suffix in suffixes.items() if suffix == _PICTURE})


def _tail(path: str, depth: int = _DEPTH) -> str:
    return "/".join(path.split("/")[-depth:])


def _unusable(row: Row) -> str:
    """Why a file is left out, or empty text."""
    kind = row["FinalImageType"].lower().replace("-", "")
    if not all(_exam(row)):
        return BAD_KEY
    if kind == "2d":
        return SPOT if whole(row.get("spot_mag")) == 1 else ""
    if kind.startswith("roi"):
        return SCREEN_CAPTURE
    return {"cview": SYNTHETIC, "3d": TOMOSYNTHESIS}.get(kind, OTHER_TYPE)


def _mammogram(row: Row, file: str, exam: Sequence[ClinicalRow], report: ImportReport) -> RawMammogram:
    breast = side(row["ImageLateralityFinal"])
    rows = [clinical for clinical in exam if breast and clinical.is_about(breast)]
    if not rows:
        report.flag(NO_CLINICAL if breast else NO_SIDE, row.where)
    if any(clinical.implant for clinical in rows):
        report.flag(IMPLANT, row.where)
    is_picture = name_parts(file).suffix == _PICTURE
    height, width = (0, 0) if is_picture else (size_of(row.get("Rows")), size_of(row.get("Columns")))
    outlines, stated = _outlines(row, is_picture, height, width, report)
    findings = _findings(rows, breast, outlines)
    label = _label(rows, breast, bool(findings) or stated, row.where, report)
    patient, accession = _exam(row)
    return RawMammogram(
        name=name_parts(file).stem,
        file=file,
        patient=patient,
        exam=accession,
        side=breast,
        view=view(row["ViewPosition"]),
        label=label,
        density=next((clinical.density for clinical in rows if clinical.density), ""),
        assessment=breast_category(rows),
        findings=findings,
        all_marked=label is not None and label.outcome is Outcome.NORMAL,  # regions mark what a radiologist circled
        height=height,
        width=width,
    )


def _label(
    rows: Sequence[ClinicalRow], breast: str, has_findings: bool, where: str, report: ImportReport
) -> Label | None:
    label = breast_label(rows, breast)
    if label is not None and label.outcome is Outcome.NORMAL and has_findings:
        report.flag(CONTRADICTION, where)
        return None
    return label


def _outlines(row: Row, is_picture: bool, height: int, width: int, report: ImportReport) -> tuple[list[Outline], bool]:
    """The regions of a file as outlines, and whether the row states any."""
    text = _region_text(row, is_picture, report)
    regions = _regions(text)
    if regions is None:
        report.drop(BAD_REGIONS, row.where)
        return [], True
    count = whole(row.get("num_roi"))
    if count is not None and count != len(regions):
        report.flag(NUMBER_DIFFERS, row.where)
    levels = _items(row.get("match_level")) or []
    outlines = []
    for place, region in enumerate(regions):
        found = clipped_box(region, height, width) if isinstance(region, list | tuple) and len(region) == 4 else None
        if found is None:
            report.drop(BAD_REGION, row.where)
            continue
        if found[1]:
            report.mend(CLIPPED, row.where)
        if place < len(levels) and levels[place] == SECOND_MATCH_LEVEL:
            report.flag(SECOND_MATCH, row.where)
        outlines.append(found[0])
    return outlines, bool(regions)


def _region_text(row: Row, is_picture: bool, report: ImportReport) -> str:
    """The regions in the frame of the file. Some tables give them for pictures, which were flipped, and DICOM apart."""
    if row.get("ROI_coords"):
        return row["ROI_coords"]
    own, other = ("PNG_ROI_coords", "DCM_ROI_coords") if is_picture else ("DCM_ROI_coords", "PNG_ROI_coords")
    if not row.get(own) and _items(row.get(other)):
        report.drop(OTHER_FRAME, row.where)
    return row.get(own)


def _regions(text: str) -> list[object] | None:
    """The regions in text: "((1, 2, 3, 4),)". A single one may lack its outer brackets. None as for `_items`."""
    found = _items(text)
    is_single = found is not None and len(found) == 4 and all(isinstance(edge, int | float) for edge in found)
    return [found] if is_single else found


def _items(text: str) -> list[object] | None:
    """The items of a Python tuple or list in text. None if the text is neither, or too long."""
    if text in ("", "()", "[]"):
        return []
    try:
        found = ast.literal_eval(text) if len(text) <= LONGEST_REGIONS else None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return list(found) if isinstance(found, list | tuple) and len(found) <= MOST_REGIONS else None


def _findings(rows: Sequence[ClinicalRow], breast: str, outlines: Sequence[Outline]) -> tuple[Finding, ...]:
    """The findings of an image. A region does not say which finding it shows: it has kind and outcome only if the
    breast has a single one. Without a region the findings of the breast are known, but not where."""
    described = [row for row in rows if row.kind]
    if not outlines:
        return tuple(_finding(row, breast, ()) for row in described)
    candidates = described or list(rows)
    if len(candidates) == 1:
        return tuple(_finding(candidates[0], breast, (outline,)) for outline in outlines)
    return tuple(Finding("finding", (outline,)) for outline in outlines)


def _finding(row: ClinicalRow, breast: str, outlines: tuple[Outline, ...]) -> Finding:
    kind = row.kind or "finding"
    return Finding(kind, outlines, row.outcome_of(breast), row.assessment, attributes=row.attributes)
