"""CBIS-DDSM, the curated subset of DDSM: case tables, DICOM images, and a mask for each lesion."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.common.errors import InvalidInput, NotFound
from services.imaging.geometry import mask_outlines
from services.imaging.licence import Licence, Term
from services.imaging.patches import Outline
from services.imaging.pixels import decode_pixels
from services.training.raw.case import Finding, LabelUnit, Mask, RawMammogram
from services.training.raw.layout import Layout
from services.training.raw.layouts.cbis_ddsm.files import (
    CbisFiles,
    files_of_abnormality,
    find_files,
    is_named_by_tables,
    matching,
)
from services.training.raw.layouts.cbis_ddsm.rows import ImageName, Lesion, read_lesions
from services.training.raw.layouts.ddsm.terms import image_label
from services.training.raw.report import ImportReport
from services.training.raw.source.files import SourceFiles

NO_IMAGE = "the image of this row is missing"
NO_MASK = "the mask of this row is missing; the place of the lesion is not known"
SECOND_IMAGE = "the image has a second file; the one that the table names is read, or else the first"
NO_ROW = "no row of the tables is about this image; it has no label"
NO_ROW_FOR_PARTS = "no row of the tables is about this mask or crop"
TWO_DENSITIES = "the rows of the image state different densities"
BOTH_SPLITS = "the patient is in training and in test"
BOTH_KINDS = "the same film is also among the images of the other kind of lesion"
NOT_A_MASK = "none of the files of this abnormality is a mask of the image; the place of the lesion is not known"
SWAPPED = "the mask and the crop are swapped"
RESIZED = "the mask has another size than the image; it is resized"

_SAME_SHAPE = 0.05
"""How much the ratio of height to width of a mask may differ from that of its image. Real ones differ by up to 2%."""
_LEAST_SIDE = 0.5
"""The share of the image's height that a mask has at least. A crop is smaller, but for the largest lesions."""


class CbisDdsm(Layout):
    """Reads CBIS-DDSM as the archive delivers it, in its older and its newer folders, and its DICOM files without
    folders. The case tables must lie in the same source."""

    name: ClassVar[str] = "cbis-ddsm"
    title: ClassVar[str] = "CBIS-DDSM, the Curated Breast Imaging Subset of DDSM"
    licence: ClassVar[Licence] = Licence(
        name="CC BY 3.0",
        citation=(
            "Sawyer-Lee R. et al.: Curated Breast Imaging Subset of DDSM. "
            "TCIA 2016, doi 10.7937/k9/tcia.2016.7o02s9cy. "
            "Lee R. S. et al.: A curated mammography data set for use in computer-aided detection and diagnosis "
            "research. Scientific Data 4:170177 (2017)."
        ),
        url="https://doi.org/10.7937/k9/tcia.2016.7o02s9cy",
        terms=(Term.ATTRIBUTION,),
    )

    def scan(self, files: SourceFiles, report: ImportReport) -> Iterator[RawMammogram]:
        """Yield the images, by name. The rows of one image become its findings."""
        lesions = read_lesions(files, report)
        found = find_files(files, report)
        _report_missing(lesions, found, report)
        _flag_splits(lesions, report)
        for name in sorted(found.images):
            rows = lesions.get(name, [])
            if not rows:
                report.flag(NO_ROW, found.images[name][0])
            yield _mammogram(found.names[name], rows, _image(found.images[name], rows, report), found, lesions, report)

    def outlines(
        self,
        files: SourceFiles,
        mammogram: RawMammogram,
        finding: Finding,
        height: int,
        width: int,
        report: ImportReport,
    ) -> tuple[Outline, ...]:
        """Decode the mask of a finding: the first file of its abnormality with two grey values and the shape of the
        image. In the newer folders of the archive nothing but the pixels says which of the two files it is."""
        if finding.mask is None:
            return finding.outlines
        candidates = files_of_abnormality(files.names, finding.mask.file)
        for place, file in enumerate(candidates):
            mask = _mask(files, file, height, width)
            if mask is None:
                continue
            if place and is_named_by_tables(finding.mask.file):
                report.mend(SWAPPED, file)
            if mask.shape != (height, width):
                report.mend(RESIZED, file)
                mask = _resized(mask, height, width)
            return mask_outlines(mask)
        report.drop(NOT_A_MASK, f"{mammogram.name}: {finding.mask.file}")
        return ()


def _report_missing(lesions: Mapping[str, Sequence[Lesion]], found: CbisFiles, report: ImportReport) -> None:
    """Report rows without an image, and masks and crops without a row."""
    for name, rows in lesions.items():
        if name not in found.images:
            for row in rows:
                report.drop(NO_IMAGE, row.where)
    numbers = {(name, row.number) for name, rows in lesions.items() for row in rows}
    for key, parts in found.parts.items():
        if key not in numbers:
            report.drop(NO_ROW_FOR_PARTS, parts[0])


def _flag_splits(lesions: Mapping[str, Sequence[Lesion]], report: ImportReport) -> None:
    """Flag patients whose images are in both splits: the tables of masses and of calcifications were split apart."""
    splits: dict[str, set[str]] = {}
    for rows in lesions.values():
        splits.setdefault(rows[0].image.patient, set()).add(rows[0].image.split)
    for patient in sorted(patient for patient, found in splits.items() if len(found) > 1):
        report.flag(BOTH_SPLITS, patient)


def _image(candidates: Sequence[str], rows: Sequence[Lesion], report: ImportReport) -> str:
    """The file of an image."""
    named = [file for row in rows for file in matching(candidates, row.image_path)]
    chosen = (named or list(candidates))[0]
    for other in candidates:
        if other != chosen:
            report.drop(SECOND_IMAGE, other)
    return chosen


def _mammogram(
    name: ImageName,
    rows: Sequence[Lesion],
    file: str,
    found: CbisFiles,
    lesions: Mapping[str, Sequence[Lesion]],
    report: ImportReport,
) -> RawMammogram:
    """An image with its findings.

    All its findings are marked if each row has a mask, and the film is not also in the tables of the other kind of
    lesion, which then has findings that are not marked here.
    """
    findings = tuple(_with_mask(row, found, report) for row in rows)
    densities = {row.density for row in rows}
    if len(densities) > 1:
        report.flag(TWO_DENSITIES, rows[0].where)
    twin = _other_kind(name.text, lesions)
    if twin and rows:
        report.flag(BOTH_KINDS, f"{name.text}, {twin}")
    return RawMammogram(
        name=name.text,
        file=file,
        patient=name.patient,
        exam=name.patient,
        side=name.side,
        view=name.view,
        label=image_label(findings, LabelUnit.IMAGE),
        density=densities.pop() if len(densities) == 1 else "",
        findings=findings,
        all_marked=bool(findings) and not twin and all(finding.mask for finding in findings),
        split=name.split,
    )


def _other_kind(name: str, lesions: Mapping[str, Sequence[Lesion]]) -> str:
    """The name of the same film among the images of the other kind of lesion, or empty."""
    kind, _, film = name.partition("_")
    other = "Calc" if kind.startswith("Mass") else "Mass"
    return next((twin for split in ("Training", "Test") if (twin := f"{other}-{split}_{film}") in lesions), "")


def _with_mask(row: Lesion, found: CbisFiles, report: ImportReport) -> Finding:
    """The finding of a row, with the file that the table names as its mask, or else any file of its abnormality. Which
    of them is the mask is decided when they are decoded."""
    candidates = found.parts.get((row.image.text, row.number), [])
    if not candidates:
        report.drop(NO_MASK, row.where)
        return row.finding
    named = matching(candidates, row.mask_path) if row.mask_path else []
    return replace(row.finding, mask=Mask((named or candidates)[0]))


def _mask(files: SourceFiles, file: str, height: int, width: int) -> NDArray[np.bool_] | None:
    """The mask in a file, or None if the file has no mask of an image of this size."""
    try:
        grey = decode_pixels(files.read(file), files.where(file)).grey
    except (InvalidInput, NotFound):
        return None
    if grey.ndim != 2 or grey.size == 0:
        return None
    low, high = grey.min(), grey.max()
    binary = low < high and bool(((grey == low) | (grey == high)).all())
    same_shape = abs(grey.shape[0] * width / (grey.shape[1] * height) - 1) <= _SAME_SHAPE
    if not (binary and same_shape and grey.shape[0] >= _LEAST_SIDE * height):
        return None
    return np.asarray(grey == high)


def _resized(mask: NDArray[np.bool_], height: int, width: int) -> NDArray[np.bool_]:
    picture = Image.fromarray(mask.astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST)
    return np.asarray(picture) > 0
