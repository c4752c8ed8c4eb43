"""A picture of a unit in a study: where its JPEG is stored, and where its patch was cut."""

import json
from collections.abc import Sequence
from typing import NamedTuple


class Picture(NamedTuple):
    """One picture; its rank is its position in the list, from 1.

    `offset` and `size` locate the JPEG in the unit's pack, in bytes. `row`, `column`, `height` and `width` are the box
    of the patch in pixels of the mammogram; `row` and `height` are vertical.
    """

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
    """Pictures as text for a column."""
    return json.dumps(pictures, separators=(",", ":"), ensure_ascii=False)


def decode_pictures(text: str) -> list[Picture]:
    """The pictures of a unit, by rank."""
    return [Picture(*fields) for fields in json.loads(text)]
