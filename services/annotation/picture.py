"""A picture of a unit as a study keeps it: where its JPEG lies, and where its patch was cut."""

import json
from collections.abc import Sequence
from typing import NamedTuple


class Picture(NamedTuple):
    """One picture; its rank is its place in the list, from 1. `offset` and `size` are of the unit's pack; the box is in
    the mammogram's pixels, `row` and `height` along the vertical axis."""

    value: float
    patch: str
    label: int
    phenomenon: str
    mammogram: int | None
    row: int
    column: int
    height: int
    width: int
    offset: int
    size: int


def encode_pictures(pictures: Sequence[Picture]) -> str:
    """Pictures as the text that a table keeps."""
    return json.dumps(pictures, separators=(",", ":"), ensure_ascii=False)


def decode_pictures(text: str) -> list[Picture]:
    """The pictures of a unit, by rank."""
    return [Picture(*fields) for fields in json.loads(text)]
