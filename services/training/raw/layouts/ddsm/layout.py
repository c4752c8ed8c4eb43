"""DDSM, the Digital Database for Screening Mammography: the folders of its cases, or images converted from them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from services.common.errors import InvalidInput, NotFound
from services.imaging.licence import Licence, Term
from services.imaging.patches import Outline
from services.imaging.pixels import Pixels, decode_pixels
from services.training.raw.case import (
    Finding,
    Label,
    LabelSource,
    LabelUnit,
    Outcome,
    RawMammogram,
)
from services.training.raw.layout import Layout
from services.training.raw.layouts.ddsm import chain_code
from services.training.raw.layouts.ddsm.cases import (
    LOSSLESS,
    RAW_WORDS,
    Case,
    VolumeType,
    find_cases,
    ics_next_to,
    in_view_order,
)
from services.training.raw.layouts.ddsm.ics import LARGEST_ICS, Film, Ics, parse_ics
from services.training.raw.layouts.ddsm.ljpeg import decode_ljpeg, ljpeg_size
from services.training.raw.layouts.ddsm.optical_density import digitizer_of, tissue_bright
from services.training.raw.layouts.ddsm.overlay import LARGEST_OVERLAY, Abnormality, parse_overlay
from services.training.raw.layouts.ddsm.raw_words import read_words
from services.training.raw.layouts.ddsm.terms import OUTCOMES, PATHOLOGY, image_label
from services.training.raw.report import ImportReport
from services.training.raw.source.files import SourceFiles

UNREADABLE_ICS = "the .ics cannot be read"
OTHER_CASE = "the .ics names another case than its file"
NO_IMAGE = "the .ics states this film, but its image is missing"
NOT_STATED = "the .ics does not state this film, so its size is not known"
UNKNOWN_VOLUME = "no folder or name states whether the case is normal, benign or cancer"
SAME_NUMBER = "two volumes contain a patient of this number"
NO_OVERLAY = "the .ics states an overlay, but it is missing"
UNSTATED_OVERLAY = "there is an overlay although the .ics states none; it is read"
UNREADABLE_OVERLAY = "the overlay cannot be read"
NORMAL_WITH_OVERLAY = "a case of a normal volume has an overlay; its findings give the label"
COUNTED_FROM_1 = "the outlines of the overlay count from 1"
LEAVES_IMAGE = "the outline leaves the image"
OUTSIDE = "the outline lies outside of the image"
NO_OUTLINE = "the abnormality has no outline"
UNKNOWN_PATHOLOGY = "the pathology is none of DDSM's; the finding has no outcome"
UNKNOWN_TYPE = "the abnormality has no LESION_TYPE that is known"

NOT_CALIBRATED = "the digitizer is not known; grey values are kept as they are, not mapped to optical density"

_KINDS = ("mass", "calcification", "other")
_LABELS: Mapping[VolumeType, Label] = {
    VolumeType.NORMAL: Label(Outcome.NORMAL, LabelUnit.PATIENT, LabelSource.SCREENING),
    VolumeType.CANCER: Label(Outcome.MALIGNANT, LabelUnit.PATIENT, LabelSource.PATHOLOGY),
    VolumeType.BENIGN: Label(Outcome.BENIGN, LabelUnit.PATIENT, LabelSource.PATHOLOGY),
    VolumeType.BENIGN_WITHOUT_CALLBACK: Label(Outcome.BENIGN, LabelUnit.PATIENT, LabelSource.SCREENING),
}
"""The label of a volume's patients. Films of the other types have it only if there is no .ics, since then nothing else
is known."""


@dataclass(frozen=True)
class _Marks:
    """The findings of a film from its overlay.

    `complete` if all abnormalities of the overlay are among them and have outlines. `overlay` if there is one, or the
    `.ics` states one.
    """

    findings: tuple[Finding, ...] = ()
    complete: bool = False
    overlay: bool = True


class Ddsm(Layout):
    """Reads DDSM's cases by their `.ics`, and films that were converted to pictures, with or without it."""

    name: ClassVar[str] = "ddsm"
    title: ClassVar[str] = "DDSM, the Digital Database for Screening Mammography"
    licence: ClassVar[Licence] = Licence(
        name="free for research, with citation",
        citation="Heath M. et al.: The Digital Database for Screening Mammography. IWDM 2000.",
        url="http://www.eng.usf.edu/cvprg/Mammography/Database.html",
        terms=(Term.ATTRIBUTION,),
    )

    def scan(self, files: SourceFiles, report: ImportReport) -> Iterator[RawMammogram]:
        """Yield the films of all cases, by volume, case and view."""
        cases = find_cases(files.names, report)
        if not any(case.ics or case.images for case in cases):
            raise InvalidInput(
                "the source has no .ics of a DDSM case (B-3024-1.ics) and no image named as "
                "B_3024_1.LEFT_CC.LJPEG or cancer_01-B_3024_1.LEFT_CC.LJPEG.1.jpg"
            )
        _flag_numbers(cases, report)
        for case in cases:
            yield from _films(files, case, report)

    def read(self, files: SourceFiles, mammogram: RawMammogram) -> Pixels:
        """Decode a film. Raw words and lossless JPEG become optical density; pictures are taken as they are.

        InvalidInput if its size differs from that of the `.ics`, since then its outlines do not fit. Only pictures
        without outlines may have another size.
        """
        name, where = mammogram.file, files.where(mammogram.file)
        ics, film = _ics_of(files, mammogram)
        if name.upper().endswith(LOSSLESS):
            content = files.read(name)
            _check_size(ljpeg_size(content, where), mammogram, where)
            return _calibrated(decode_ljpeg(content, where), (), ics, film, mammogram)
        if name.upper().endswith(RAW_WORDS):
            if film is None:
                raise InvalidInput(f"{where} has no .ics in its folder that states its size")
            return _calibrated(
                *read_words(files.read(name), film.height, film.width, film.bits, where), ics, film, mammogram
            )
        pixels = decode_pixels(files.read(name), where)
        _check_size(pixels.grey.shape, mammogram, where)
        fits = film is not None and pixels.grey.shape == (film.height, film.width)
        return Pixels(pixels.grey, film.spacing if film and fits else 0.0, pixels.burned_in, pixels.notes)


def _flag_numbers(cases: Sequence[Case], report: ImportReport) -> None:
    """Flag numbers that stand in two volumes: a patient in both, or a number that was used twice."""
    volumes: dict[str, list[str]] = {}
    for case in cases:
        if case.images:
            volumes.setdefault(case.patient, []).append(case.volume)
    for patient, found in volumes.items():
        if len(found) > 1:
            report.flag(SAME_NUMBER, f"{patient}: {', '.join(found)}")


def _films(files: SourceFiles, case: Case, report: ImportReport) -> Iterator[RawMammogram]:
    """The films of a case, read together because a finding may be outlined in one view of its breast only."""
    ics = _read_ics(files, case, report)
    if case.type is VolumeType.UNKNOWN and case.images:
        report.flag(UNKNOWN_VOLUME, case.ics or min(case.images.values()))
    if ics:
        for view in in_view_order(iter(set(ics.films) - set(case.images))):
            report.drop(NO_IMAGE, f"{case.ics}: {view}")
    marks = {}
    for view in in_view_order(iter({*case.images, *case.overlays})):
        overlay = case.overlay(view, report)
        if view in case.images:
            marks[view] = _marks(files, case, view, overlay, ics, report)
    normal = case.type is VolumeType.NORMAL and not any(found.overlay for found in marks.values())
    for view, found in marks.items():
        image = case.images[view]
        if image.upper().endswith(RAW_WORDS) and (ics is None or view not in ics.films):
            report.drop(NOT_STATED, image)
        else:
            label = _LABELS[case.type] if normal else _label(case, view, marks, known=ics is not None)
            yield _mammogram(case, view, ics, found, label, all_marked=normal or found.complete)


def _read_ics(files: SourceFiles, case: Case, report: ImportReport) -> Ics | None:
    if not case.ics:
        return None
    try:
        ics = parse_ics(files.read(case.ics, LARGEST_ICS), files.where(case.ics), report)
    except (InvalidInput, NotFound):
        report.drop(UNREADABLE_ICS, case.ics)
        return None
    if ics.case and ics.case != case.name:
        report.flag(OTHER_CASE, case.ics)
    return ics


def _marks(files: SourceFiles, case: Case, view: str, overlay: str, ics: Ics | None, report: ImportReport) -> _Marks:
    """The findings of a film from its overlay.

    They are complete if all abnormalities of the overlay were read and have outlines: DDSM outlines each abnormality in
    the films in which it can be seen, and the label of the film comes from these findings alone.
    """
    film = ics.films.get(view) if ics else None
    if not overlay:
        stated = bool(film and film.overlay)
        if stated:
            report.drop(NO_OVERLAY, f"{case.ics}: {view}")
        return _Marks(overlay=stated)
    if film and film.overlay is False:
        report.mend(UNSTATED_OVERLAY, overlay)
    try:
        parsed = parse_overlay(files.read(overlay, LARGEST_OVERLAY), files.where(overlay), report)
    except (InvalidInput, NotFound):
        report.drop(UNREADABLE_OVERLAY, overlay)
        return _Marks()
    if case.type is VolumeType.NORMAL and parsed.abnormalities:
        report.flag(NORMAL_WITH_OVERLAY, overlay)
    findings = _findings(parsed.abnormalities, film, files.where(overlay), report)
    return _Marks(findings, parsed.complete and bool(findings) and all(finding.outlines for finding in findings))


def _findings(
    abnormalities: Sequence[Abnormality], film: Film | None, where: str, report: ImportReport
) -> tuple[Finding, ...]:
    chains = [chain for found in abnormalities for chain in (found.boundary, *found.cores) if chain is not None]
    paths = {chain: chain_code.path_of(chain) for chain in chains}
    first = chain_code.FIRST_INDEX
    if film:
        first = chain_code.first_index(list(paths.values()), film.height, film.width)
    if first != chain_code.FIRST_INDEX:
        report.mend(COUNTED_FROM_1, where)
    report.count("abnormalities", len(abnormalities))
    findings: list[Finding] = []
    for abnormality in abnormalities:
        path = paths[abnormality.boundary] - first if abnormality.boundary else None
        outline = _outline(path, film, abnormality.where, report)
        findings += _one_for_each_type(abnormality, outline, report)
    return tuple(findings)


def _one_for_each_type(abnormality: Abnormality, outline: Outline, report: ImportReport) -> Iterator[Finding]:
    """A finding for each LESION_TYPE, all with the same outline: a mass with calcifications is both.

    Only the boundary is the outline. The cores lie inside of it and add nothing to its area, so they are only counted.
    """
    if abnormality.pathology not in OUTCOMES:
        report.flag(UNKNOWN_PATHOLOGY, abnormality.where)
    types = [found for found in abnormality.types if found.kind in _KINDS]
    if not types or len(types) < len(abnormality.types):
        report.flag(UNKNOWN_TYPE, abnormality.where)
    shared = {"cores": str(len(abnormality.cores))} if abnormality.cores else {}
    if abnormality.pathology in OUTCOMES:
        shared[PATHOLOGY] = abnormality.pathology
    for kind, attributes in [(found.kind, found.attributes) for found in types] or [("other", {})]:
        yield Finding(
            kind=kind,
            outlines=(outline,) if outline else (),
            outcome=OUTCOMES.get(abnormality.pathology),
            assessment=abnormality.assessment,
            subtlety=abnormality.subtlety,
            attributes={**attributes, **shared},
        )


def _outline(path: chain_code.PixelPath | None, film: Film | None, where: str, report: ImportReport) -> Outline:
    """The closed outline of an abnormality; empty if it has none in the image."""
    if path is None:
        report.drop(NO_OUTLINE, where)
        return ()
    loop = chain_code.closed(path)
    if loop.repair:
        report.mend(loop.repair, where)
    if film and not _lies_inside(loop.path, film, where, report):
        return ()
    return chain_code.corners(loop.path)


def _lies_inside(path: chain_code.PixelPath, film: Film, where: str, report: ImportReport) -> bool:
    """Whether an outline has pixels in the image. One that leaves it is flagged, and kept whole."""
    least, largest, size = path.min(axis=0), path.max(axis=0), (film.height, film.width)
    if (largest < 0).any() or (least >= size).any():
        report.drop(OUTSIDE, where)
        return False
    if (least < 0).any() or (largest >= size).any():
        report.flag(LEAVES_IMAGE, where)
    return True


def _label(case: Case, view: str, marks: Mapping[str, _Marks], known: bool) -> Label | None:
    """The label of a film whose case is not normal: of its findings, else of the findings in the other view of its
    breast.

    A film without either has no label if the case is known: the finding may be in the other breast. Without an `.ics`
    only the volume is known, and with it the patient.
    """
    if marks[view].findings:
        return image_label(marks[view].findings, LabelUnit.IMAGE)
    side = view.partition("_")[0]
    breast = [finding for key, found in marks.items() if key.startswith(side) for finding in found.findings]
    if breast:
        return image_label(breast, LabelUnit.BREAST)
    return None if known or case.type is VolumeType.NORMAL else _LABELS.get(case.type)


def _mammogram(
    case: Case, view: str, ics: Ics | None, marks: _Marks, label: Label | None, all_marked: bool
) -> RawMammogram:
    side, _, projection = view.partition("_")
    film = ics.films.get(view) if ics else None
    exact = bool(marks.findings) or case.images[view].upper().endswith((LOSSLESS, RAW_WORDS))
    return RawMammogram(
        name=f"{case.volume}-{case.name}.{view}.LJPEG.1",
        file=case.images[view],
        patient=case.patient,
        exam=f"{case.volume}-{case.name}",
        side=side,
        view=projection,
        label=label,
        density=ics.density if ics else "",
        findings=marks.findings,
        all_marked=all_marked,
        height=film.height if film and exact else 0,
        width=film.width if film and exact else 0,
    )


def _ics_of(files: SourceFiles, mammogram: RawMammogram) -> tuple[Ics | None, Film | None]:
    """The `.ics` in the folder of an image, and what it says about the film."""
    name = ics_next_to(files.names, mammogram.file)
    if not name:
        return None, None
    ics = parse_ics(files.read(name, LARGEST_ICS), files.where(name), ImportReport())
    return ics, ics.films.get(f"{mammogram.side}_{mammogram.view}")


def _calibrated(
    grey: np.ndarray[tuple[int, ...], np.dtype[np.uint16]],
    notes: tuple[str, ...],
    ics: Ics | None,
    film: Film | None,
    mammogram: RawMammogram,
) -> Pixels:
    spacing = film.spacing if film else 0.0
    digitizer = digitizer_of(ics.digitizer, mammogram.patient) if ics else None
    if digitizer is None:
        return Pixels(grey, spacing, notes=(*notes, NOT_CALIBRATED))
    return Pixels(tissue_bright(grey, digitizer), spacing, notes=notes)


def _check_size(found: tuple[int, ...], mammogram: RawMammogram, where: str) -> None:
    stated = (mammogram.height, mammogram.width)
    if mammogram.height and tuple(found) != stated:
        raise InvalidInput(f"{where} has {found[0]} x {found[1]} pixels; its .ics states {stated[0]} x {stated[1]}")
