"""Turns the points, boxes and ellipses of annotation files into outlines, with limits on their number and size."""

import json
import math
from collections.abc import Iterable, Sequence

from services.common.errors import InvalidInput
from services.imaging.geometry import box_outline, ellipse_outline
from services.imaging.patches import Outline
from services.training.raw.source.fields import number

MOST_POINTS = 50_000
"""Points of an outline."""
LARGEST_ANNOTATION = 32 << 20
"""Bytes of a file of outlines."""


def point_outline(points: Sequence[tuple[object, object]]) -> Outline | None:
    """An outline of (row, column) points. None if there are none or too many, or one is not a number."""
    if not 0 < len(points) <= MOST_POINTS:
        return None
    numbers = [(number(row), number(column)) for row, column in points]
    outline = tuple((row, column) for row, column in numbers if row is not None and column is not None)
    return outline if len(outline) == len(points) else None


def clipped_box(edges: Sequence[object], height: int, width: int) -> tuple[Outline, bool] | None:
    """The outline of a box of (top, left, bottom, right) inside of the image, and whether it was clipped. None if the
    box is incomplete, or nothing of it lies in the image. A size of 0 is unknown and clips nothing."""
    found = [edge for edge in map(number, edges) if edge is not None]
    if len(found) < len(edges):
        return None
    top, left, bottom, right = max(0.0, found[0]), max(0.0, found[1]), found[2], found[3]
    bottom, right = min(bottom, height or bottom), min(right, width or right)
    if not (top < bottom and left < right):
        return None
    return box_outline(top, left, bottom, right), [top, left, bottom, right] != found


def turned_ellipse(row: float, column: float, vertical: float, horizontal: float, angle: float) -> Outline:
    """The outline of an ellipse that is turned by an angle in radians, clockwise as the image is seen."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return tuple(
        (row + down * cosine + right * sine, column + right * cosine - down * sine)
        for down, right in ellipse_outline(0, 0, vertical, horizontal)
    )


def leaves(outlines: Iterable[Outline], height: int, width: int) -> bool:
    """Whether a vertex lies outside of an image of this size. A size of 0 is unknown: then it does not."""
    if not height or not width:
        return False
    vertices = [vertex for outline in outlines for vertex in outline]
    return any(not (0 <= row <= height and 0 <= column <= width) for row, column in vertices)


def parse_json(content: bytes | str, where: str) -> object:
    """Parse JSON of a source. InvalidInput names the place if it is damaged or nested too deeply."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{where} is not JSON: {error}") from error
