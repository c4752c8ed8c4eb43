"""RSNA Screening Mammography Breast Cancer Detection, 2022: 54,706 images with the outcome of screening by breast.

    train.csv  test.csv    train_images/<patient_id>/<image_id>.dcm  test_images/…    (or .png copies)

`cancer` is a label of the breast. 0 is not "normal": it says that no cancer was found, in a breast that may well have a
benign finding. A category of screening decides then, as far as the site gives one.
"""

from collections.abc import Iterator
from typing import ClassVar

from services.imaging.licence import Licence, Term
from services.training.raw.case import Label, LabelSource, LabelUnit, Outcome, RawMammogram
from services.training.raw.layout import Layout
from services.training.raw.report import ImportReport
from services.training.raw.source.fields import category, density, side, view, whole
from services.training.raw.source.files import SourceFiles, name_parts
from services.training.raw.source.tables import Row, csv_rows, table_named

SUFFIXES = ("dcm", "png")
TRAIN, TEST = "train.csv", "test.csv"
COLUMNS = ("patient_id", "image_id", "laterality", "view")

NO_FILE = "image file is missing"
NO_ROW = "image has no row in train.csv or test.csv"
REPEATED = "row repeats an image"
SECOND_COPY = "picture of an image that is there as DICOM"
NO_SIDE = "side or view is missing"
NO_OUTCOME = "cancer is neither 0 nor 1: not labelled"
IMPLANT = "breast has an implant"

_Key = tuple[str, str, str]
"""Part of the set, patient and image."""


class RSNA(Layout):
    """The data of the competition of 2022, or a copy with pictures."""

    name: ClassVar[str] = "rsna"
    title: ClassVar[str] = "RSNA Screening Mammography 2022"
    licence: ClassVar[Licence] = Licence(
        name="Rules of the RSNA competition of 2022: non-commercial use",
        citation="Carr et al., RSNA Screening Mammography Breast Cancer Detection, Kaggle (2022)",
        url="https://www.kaggle.com/competitions/rsna-breast-cancer-detection/rules",
        terms=(Term.NON_COMMERCIAL,),
    )

    def scan(self, files: SourceFiles, report: ImportReport) -> Iterator[RawMammogram]:
        """Yield the images in the order of train.csv, then of test.csv if it is there."""
        train = table_named(files, TRAIN)
        images = _image_files(files, report)
        yield from _part(files, "train", train, images, report)
        if any(name.rpartition("/")[2].lower() == TEST for name in files.names):
            yield from _part(files, "test", table_named(files, TEST), images, report)
        for file in images.values():
            report.drop(NO_ROW, files.where(file))


def _image_files(files: SourceFiles, report: ImportReport) -> dict[_Key, str]:
    found: dict[_Key, str] = {}
    for name in files.names:
        key = _key(name)
        if key is None:
            continue
        first = found.get(key, name)
        kept = name if name_parts(name).suffix == "dcm" else first
        if key in found:
            report.drop(SECOND_COPY, files.where(first if kept == name else name))
        found[key] = kept
    return found


def _key(name: str) -> _Key | None:
    parts = name_parts(name)
    part = parts.folders[-2].lower().partition("_images")[0] if len(parts.folders) > 1 else ""
    return (part, parts.folders[-1], parts.stem) if part in ("train", "test") and parts.suffix in SUFFIXES else None


def _part(
    files: SourceFiles, split: str, table: str, images: dict[_Key, str], report: ImportReport
) -> Iterator[RawMammogram]:
    required = (*COLUMNS, "cancer") if split == "train" else COLUMNS
    seen = set[_Key]()
    for row in csv_rows(files, table, required, report=report):
        key = (split, row["patient_id"], row["image_id"])
        file = images.pop(key, "")
        if file:
            seen.add(key)
            yield _mammogram(row, file, split, report)
        else:
            report.drop(REPEATED if key in seen else NO_FILE, row.where)


def _mammogram(row: Row, file: str, split: str, report: ImportReport) -> RawMammogram:
    shown_side, shown_view = side(row["laterality"]), view(row["view"])
    if not (shown_side and shown_view):
        report.flag(NO_SIDE, row.where)
    if whole(row.get("implant")) == 1:
        report.flag(IMPLANT, row.where)
    label = _label(row, report) if split == "train" else None
    return RawMammogram(
        name=f"{row['patient_id']}_{row['image_id']}",
        file=file,
        patient=row["patient_id"],
        exam=row["patient_id"],
        side=shown_side,
        view=shown_view,
        label=label,
        density=density(row.get("density")),
        assessment=category(row.get("BIRADS")),
        all_marked=label is not None and label.outcome is Outcome.NORMAL,  # the set has no outlines
        split=split,
    )


def _label(row: Row, report: ImportReport) -> Label | None:
    """The label of a breast. A biopsy makes it one of pathology; without one it is the outcome of screening."""
    cancer, biopsied = whole(row["cancer"]), whole(row.get("biopsy")) == 1
    if cancer not in (0, 1):
        report.flag(NO_OUTCOME, row.where)
        return None
    if cancer or biopsied:
        outcome = Outcome.MALIGNANT if cancer else Outcome.BENIGN
        return Label(outcome, LabelUnit.BREAST, LabelSource.PATHOLOGY if biopsied else LabelSource.SCREENING)
    screened = {"1": Outcome.NORMAL, "2": Outcome.BENIGN}.get(str(category(row.get("BIRADS"))))
    return None if screened is None else Label(screened, LabelUnit.BREAST, LabelSource.SCREENING)
