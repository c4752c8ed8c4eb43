"""A picture of a unit in a study: where its JPEG and its patch are stored, and where the patch was cut."""

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


class PatchSource(NamedTuple):
    """Where a patch is stored as it was imported: the number of its shard in the study, and its bytes in the shard."""

    shard: int
    offset: int
    size: int


def encode_sources(sources: Sequence[PatchSource]) -> str:
    """The sources of a unit's pictures, by rank, as text for a column."""
    return json.dumps(sources, separators=(",", ":"))


def decode_sources(text: str | None) -> list[PatchSource]:
    """The sources of a unit's pictures, by rank; none in studies that were opened before sources were recorded."""
    return [PatchSource(*fields) for fields in json.loads(text)] if text is not None else []
