"""A folder of pictures (PNG, JPEG, TIFF or PGM, 8 or 16 bits) with tables of labels and findings, and whatever names of
files a lab has. `folder_mapping` says what can differ from the convention.

Patients, exams and images become pseudonyms, and the report names files by number, since names of files may identify.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np

from services.common.errors import InvalidInput, NotFound
from services.imaging.burned_in import shows_text
from services.imaging.geometry import mask_outlines
from services.imaging.licence import UNSTATED, Licence
from services.imaging.patches import Outline
from services.imaging.pixels import Pixels, decode_picture
from services.training.raw.case import Finding, RawMammogram
from services.training.raw.label_rows import combined
from services.training.raw.layout import Layout
from services.training.raw.layouts.folder.mapping import MAPPING, TEMPLATE_FIELDS, FolderMapping, read_mapping
from services.training.raw.layouts.folder.name_template import NameTemplate
from services.training.raw.layouts.folder.tables import ImageRow, read_tables
from services.training.raw.report import ImportReport
from services.training.raw.source import fields
from services.training.raw.source.files import SourceFiles, place_of

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".pgm")
NOT_A_PICTURE = "file that is no picture"
NO_PATIENT = "picture of an unknown patient: neither a table nor the name of its file states one"
TEXTS_DIFFER = "rows state different patients, exams, sides or views for one image: none was used"
NO_SIDE = "no side found"
NO_VIEW = "no view found"
BAD_MASK = "mask cannot be read"
MASK_SIZE = "mask has another size than its image"
EMPTY_MASK = "mask is empty"
FEW_BITS = "values use few of 16 bits; layout.json can state their bits"
FEW = 14
"""With at most this many of 16 bits in use, the brightest value is shown as dark grey at best."""


class PictureFolder(Layout):
    """A folder of pictures and tables."""

    name: ClassVar[str] = "folder"
    title: ClassVar[str] = "pictures with tables"
    licence: ClassVar[Licence] = UNSTATED
    public_identifiers: ClassVar[bool] = False

    def scan(self, files: SourceFiles, report: ImportReport) -> Iterator[RawMammogram]:
        """Yield the mammograms in the order of their files' names. InvalidInput if there is neither a table of labels
        nor a template."""
        mapping = read_mapping(files)
        if mapping.labels not in files.names and not mapping.template:
            raise InvalidInput(f"the source has neither a table {mapping.labels} nor a template in {MAPPING}")
        tables = read_tables(files, mapping, report)
        for name in files.names:
            if name in tables.masks or name in (mapping.labels, mapping.findings, MAPPING):
                continue
            place = place_of(files, name)
            if not name.lower().endswith(SUFFIXES):
                report.drop(NOT_A_PICTURE, place)
                continue
            found = _mammogram(name, tables.rows.get(name, []), tables.findings.get(name, []), mapping, report, place)
            if found:
                yield found

    def read(self, files: SourceFiles, mammogram: RawMammogram) -> Pixels:
        """Decode a picture."""
        place = place_of(files, mammogram.file)
        return _as_pixels(decode_picture(_content(files, mammogram.file), place), read_mapping(files), place)

    def outlines(
        self,
        files: SourceFiles,
        mammogram: RawMammogram,  # noqa: ARG002 - the report names the mask
        finding: Finding,
        height: int,
        width: int,
        report: ImportReport,
    ) -> tuple[Outline, ...]:
        """The outlines of a finding, from its mask if it has one."""
        if finding.mask is None:
            return finding.outlines
        place = place_of(files, finding.mask.file)
        try:
            grey = decode_picture(_content(files, finding.mask.file), place)
        except InvalidInput:
            report.drop(BAD_MASK, place)
            return ()
        if grey.shape != (height, width) or not grey.any():
            report.drop(MASK_SIZE if grey.shape != (height, width) else EMPTY_MASK, place)
            return ()
        return mask_outlines(grey > grey.max() // 2)


def _content(files: SourceFiles, name: str) -> bytes:
    try:
        return files.read(name)
    except (InvalidInput, NotFound):
        raise InvalidInput(f"{place_of(files, name)} cannot be read") from None  # the message names the file


def _mammogram(
    name: str,
    rows: Sequence[ImageRow],
    findings: Sequence[Finding],
    mapping: FolderMapping,
    report: ImportReport,
    place: str,
) -> RawMammogram | None:
    """The mammogram of a picture. Without a patient there is none, because patients must not be in two splits."""
    texts = _texts(name, rows, mapping, report, place)
    if not texts["patient"]:
        report.drop(NO_PATIENT, place)
        return None
    side, view = fields.side(texts["side"]), fields.view(texts["view"])
    for reason, missing in ((NO_SIDE, not side), (NO_VIEW, not view)):
        if missing:
            report.flag(reason, place)
    labels = combined([row.labels for row in rows], report, place)
    return RawMammogram(
        name=name,
        file=name,
        patient=texts["patient"],
        exam=f"{texts['patient']}/{texts['exam']}",
        side=side,
        view=view,
        label=labels.label,
        density=labels.density,
        assessment=labels.assessment,
        findings=(*labels.findings, *findings),
        all_marked=labels.all_marked,
        split=labels.split,
    )


def _texts(
    name: str, rows: Sequence[ImageRow], mapping: FolderMapping, report: ImportReport, place: str
) -> dict[str, str]:
    """Patient, exam, side and view: from the table first, then from the name of the file."""
    template = NameTemplate.parse(mapping.template, TEMPLATE_FIELDS) if mapping.template else None
    from_name: Mapping[str, str] = (template.read(name) if template else None) or {}
    texts = {}
    for field in TEMPLATE_FIELDS:
        stated = {row.cells[field] for row in rows} - {""}
        if len(stated) > 1:
            report.flag(TEXTS_DIFFER, place)
            texts[field] = ""
        else:
            texts[field] = stated.pop() if stated else mapping.word(field, from_name.get(field, ""))
    return texts


def _as_pixels(grey: np.ndarray, mapping: FolderMapping, place: str) -> Pixels:
    """Grey values at the depth and with the polarity of the mapping."""
    notes: tuple[str, ...] = ()
    top = np.iinfo(grey.dtype).max
    if grey.dtype == np.uint16:
        used = int(grey.max()).bit_length() if grey.size else 0
        bits = mapping.bits or 16
        if used > bits:
            raise InvalidInput(f"{place} has values of {used} bits; {MAPPING} states {bits}")
        if mapping.bits is None and used <= FEW:
            notes = (FEW_BITS,)
        top = (1 << bits) - 1
        grey = (top - grey if mapping.inverted else grey) << (16 - bits)
    elif mapping.inverted:
        grey = top - grey
    return Pixels(grey, mapping.spacing, shows_text(grey), notes)
