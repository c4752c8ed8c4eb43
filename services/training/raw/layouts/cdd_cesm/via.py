"""Reads outlines of the VGG Image Annotator (VIA), from its table with one row a region."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from services.common.errors import InvalidInput
from services.imaging.geometry import box_outline
from services.imaging.patches import Outline
from services.training.raw.outlines import parse_json, point_outline, turned_ellipse
from services.training.raw.report import ImportReport
from services.training.raw.source.fields import number
from services.training.raw.source.files import SourceFiles
from services.training.raw.source.tables import csv_rows

COLUMNS = ("#filename", "region_shape_attributes")

BAD_REGION = "region of the annotator's table cannot be read"
CLOSED = "open line was closed to an outline"


@dataclass(frozen=True)
class Region:
    """A region of an image file. A region that cannot be read has no outline."""

    file: str
    outline: Outline | None
    where: str


def read_via(files: SourceFiles, table: str, report: ImportReport) -> Iterator[Region]:
    """Yield the regions of a table. Rows of images without a region are left out."""
    for row in csv_rows(files, table, COLUMNS, report=report):
        text = row["region_shape_attributes"]
        if text in ("", "{}"):
            continue
        outline = None
        try:
            shape = parse_json(text, row.where)
            outline = _outline(shape) if isinstance(shape, dict) else None
        except InvalidInput:
            shape = None
        if outline is None:
            report.drop(BAD_REGION, row.where)
        elif isinstance(shape, dict) and shape.get("name") == "polyline":
            report.mend(CLOSED, row.where)
        yield Region(row["#filename"], outline, row.where)


def _outline(shape: Mapping[str, object]) -> Outline | None:
    """The outline of a polygon, an open line, a point, a box, a circle or an ellipse."""
    name = shape.get("name")
    if name in ("polygon", "polyline"):
        return _points(shape.get("all_points_y"), shape.get("all_points_x"))
    if name == "point":
        return point_outline([(shape.get("cy"), shape.get("cx"))])
    if name == "rect":
        return _box([number(shape.get(field)) for field in ("y", "x", "height", "width")])
    if name == "circle":
        return _round(shape, "r", "r")
    return _round(shape, "ry", "rx") if name == "ellipse" else None


def _points(rows: object, columns: object) -> Outline | None:
    if not isinstance(rows, list) or not isinstance(columns, list) or len(rows) != len(columns):
        return None
    return point_outline(list(zip(rows, columns, strict=True)))


def _box(fields: list[float | None]) -> Outline | None:
    known = [field for field in fields if field is not None]
    if len(known) < 4 or known[2] <= 0 or known[3] <= 0:
        return None
    top, left, height, width = known
    return box_outline(top, left, top + height, left + width)


def _round(shape: Mapping[str, object], vertical: str, horizontal: str) -> Outline | None:
    fields = [number(shape.get(field)) for field in ("cy", "cx", vertical, horizontal)]
    known = [field for field in fields if field is not None]
    if len(known) < 4 or known[2] <= 0 or known[3] <= 0:
        return None
    row, column, down, right = known
    angle = number(shape.get("theta", 0)) or 0.0
    return turned_ellipse(row, column, down, right, angle % math.tau)
