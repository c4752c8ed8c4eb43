"""Reads the case tables of CBIS-DDSM: one row a lesion, in four tables for masses and calcifications, training and
test."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from services.common.errors import InvalidInput
from services.training.raw.case import Finding
from services.training.raw.layouts.ddsm.terms import (
    DENSITIES,
    OUTCOMES,
    PATHOLOGY,
    descriptors,
    pathology_word,
    whole_number,
)
from services.training.raw.report import ImportReport
from services.training.raw.source.files import SourceFiles, named
from services.training.raw.source.tables import Row, csv_rows

TABLES = "*case_description*.csv"
COLUMNS = (
    "patient id",
    "left or right breast",
    "image view",
    "abnormality id",
    "abnormality type",
    "pathology",
    "image file path",
)
"""Columns that a table must have, as the calcification tables spell them; the others write `_` for some blanks."""

NO_IMAGE_NAME = "the row names no image of CBIS-DDSM"
OTHER_IMAGE = "the row contradicts the name of its image; the name is used"
UNKNOWN_PATHOLOGY = "the pathology is none of CBIS-DDSM's; the finding has no outcome"
SAME_ABNORMALITY = "the abnormality has a second row"

_IMAGE = re.compile(
    r"(?P<kind>Mass|Calc)-(?P<split>Training|Test)_(?P<patient>P_[0-9]{1,6})_(?P<side>LEFT|RIGHT)_(?P<view>CC|MLO)"
    r"(?:_(?P<abnormality>[0-9]{1,3}))?"
)
_ATTRIBUTES = {
    "mass shape": "shape",
    "mass margins": "margins",
    "calc type": "type",
    "calc distribution": "distribution",
}


@dataclass(frozen=True)
class ImageName:
    """The name of an image, which is also its PatientID: `Mass-Training_P_00001_LEFT_CC`. `text` is without the number
    of an abnormality, which the names of masks and crops end with."""

    text: str
    split: str
    patient: str
    side: str
    view: str
    abnormality: str


@dataclass(frozen=True)
class Lesion:
    """A row: a lesion in an image, with the paths of that image and of its mask as the table states them."""

    image: ImageName
    number: str
    density: str
    finding: Finding
    image_path: str
    mask_path: str
    where: str


def image_name(text: str) -> ImageName | None:
    """The parts of the name of an image, mask or crop, or None."""
    found = _IMAGE.fullmatch(text)
    if found is None:
        return None
    split = "train" if found["split"] == "Training" else "test"
    name = text.removesuffix(f"_{found['abnormality']}") if found["abnormality"] else text
    return ImageName(name, split, found["patient"], found["side"], found["view"], found["abnormality"] or "")


def read_lesions(files: SourceFiles, report: ImportReport) -> dict[str, list[Lesion]]:
    """The lesions of all tables by the name of their image, in the order of the tables. A row that cannot be used is
    reported. InvalidInput if there is no table, or one lacks a column."""
    tables = named(files, TABLES)
    if not tables:
        raise InvalidInput(f"the source has no table {TABLES}; expected mass_case_description_train_set.csv and others")
    lesions: dict[str, list[Lesion]] = {}
    for table in tables:
        for row in _rows(files, table, report):
            lesion = _lesion(row, report)
            if lesion is None:
                report.drop(NO_IMAGE_NAME, row.where)
                continue
            others = lesions.setdefault(lesion.image.text, [])
            if any(other.number == lesion.number for other in others):
                report.drop(SAME_ABNORMALITY, row.where)
            else:
                others.append(lesion)
    return lesions


def _rows(files: SourceFiles, table: str, report: ImportReport) -> Iterator[Row]:
    """The rows of a table with blanks in the names of all columns."""
    for row in csv_rows(files, table, (), report=report):
        cells = {column.lower().replace("_", " "): text for column, text in row.cells.items()}
        missing = [column for column in COLUMNS if column not in cells]
        if missing:
            raise InvalidInput(
                f"{files.where(table)} has no column {', '.join(missing)}; expected {', '.join(COLUMNS)}"
            )
        yield Row(cells, row.where)


def _lesion(row: Row, report: ImportReport) -> Lesion | None:
    """The lesion of a row, or None if the path of its image does not begin with a name."""
    image_path, mask_path = row["image file path"], row.get("roi mask file path")
    image = image_name(image_path.partition("/")[0])
    if image is None or image.abnormality:
        return None
    stated = (row["patient id"], row["left or right breast"].upper(), row["image view"].upper())
    if stated != (image.patient, image.side, image.view):
        report.flag(OTHER_IMAGE, row.where)
    pathology = pathology_word(row["pathology"])
    if pathology not in OUTCOMES:
        report.flag(UNKNOWN_PATHOLOGY, row.where)
    return Lesion(
        image=image,
        number=row["abnormality id"],
        density=DENSITIES.get(row.get("breast density"), ""),
        finding=_finding(row, pathology),
        image_path=image_path,
        mask_path=mask_path,
        where=row.where,
    )


def _finding(row: Row, pathology: str) -> Finding:
    attributes: Mapping[str, str] = {
        name: text for column, name in _ATTRIBUTES.items() if (text := descriptors(row.get(column)))
    }
    return Finding(
        kind=row["abnormality type"].lower(),
        outcome=OUTCOMES.get(pathology),
        assessment=whole_number(row.get("assessment"), 0, 6),
        subtlety=whole_number(row.get("subtlety"), 1, 5),
        attributes={**attributes, **({PATHOLOGY: pathology} if pathology in OUTCOMES else {})},
    )
