"""What the checklists CLAIM 2024 and FUTURE-AI require, and which of it a pack contains.

An item is filled by documents of the pack, still open because the study lacks them, or marked as not this software's:
it is for the authors to write. Items are paraphrased; the checklists themselves are Tejani et al., Radiology:
Artificial Intelligence 2024 (CLAIM 2024), and Lekadir et al., BMJ 2025 (FUTURE-AI).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from services.cli.evidence.collect import Documents

Status = Literal["filled", "open", "not by this software"]
AUTHORS = "for the authors to write"
Fill = Callable[[Documents], str]
"""What fills an item, in words with the places of documents; empty if the study lacks it."""


@dataclass(frozen=True)
class Item:
    """An item of a checklist: its number there, what it requires, and what fills it. Without `fill` it is not this
    software's. `lacking` says what would fill it."""

    number: str
    requires: str
    fill: Fill | None = None
    lacking: str = ""


@dataclass(frozen=True)
class FilledItem:
    """An item with its status and the words for it."""

    item: Item
    status: Status
    words: str


def fill_in(items: Sequence[Item], documents: Documents) -> list[FilledItem]:
    """All items of a checklist, for the documents of a study."""
    return [_fill(item, documents) for item in items]


def _fill(item: Item, documents: Documents) -> FilledItem:
    if item.fill is None:
        return FilledItem(item, "not by this software", AUTHORS)
    words = item.fill(documents)
    if words:
        return FilledItem(item, "filled", words)
    return FilledItem(item, "open", item.lacking)


def where(*places: str) -> Fill:
    """Filled by documents that are all there."""

    def fill(documents: Documents) -> str:
        present = [place for place in places if place in documents.json or place in documents.tables]
        folders = [place for place in places if documents.below(place)]
        return ", ".join(present + folders) if len(present) + len(folders) == len(places) else ""

    return fill


def always(words: str) -> Fill:
    """Filled by what the software does in every study."""
    return lambda _documents: words
