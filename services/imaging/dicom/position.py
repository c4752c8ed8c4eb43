"""Finds the side and the view of a mammogram in whichever DICOM attributes state them.

| | in this order |
|---|---|
| side | ImageLaterality, FrameLaterality, Laterality, PatientID (CBIS-DDSM), words of a description |
| view | ViewPosition, ViewCodeSequence, PatientOrientation, PatientID (CBIS-DDSM), words of a description |

The first attribute that states one decides. Attributes that contradict it, and the doubtful sources at the end, give a
note. PatientOrientation holds the view itself in CBIS-DDSM; elsewhere it holds directions of rows and columns: the
columns of a CC view run to the left or right, those of an MLO view to the feet and to a side as well.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from pydicom import Dataset

from services.imaging.dicom.attributes import items_of, text_of, texts_of
from services.imaging.dicom.identity import DESCRIPTIONS
from services.imaging.patches import SIDES

VIEWS = frozenset(
    {"CC", "MLO", "ML", "LM", "LMO", "XCC", "XCCL", "XCCM", "FB", "SIO", "ISO", "AT", "CV", "RL", "RM", "TAN"}
)
"""Values of ViewPosition in mammography."""
VIEW_CODES = {
    "399162004": "CC",
    "399368009": "MLO",
    "399260004": "ML",
    "399352003": "LM",
    "399099002": "LMO",
    "399192008": "XCCL",
    "399101009": "XCCM",
    "399196006": "FB",
    "399188001": "SIO",
    "441555000": "ISO",
    "R-10242": "CC",
    "R-10226": "MLO",
    "R-10224": "ML",
    "R-10228": "LM",
    "R-10230": "LMO",
    "R-1024A": "XCCL",
    "R-1024B": "XCCM",
    "R-10244": "FB",
    "R-102D0": "SIO",
    "R-40AAA": "ISO",
}
"""Views by their codes in SNOMED CT and, before 2018, SNOMED RT (DICOM PS3.16, CID 4014)."""
MODIFIER_CODES = frozenset({"399163009", "399055006", "R-102D6", "R-102D7"})
"""Codes of magnification and spot compression (CID 4015)."""

SIDES_DIFFER = "attributes state different sides; the first one was used"
VIEWS_DIFFER = "attributes state different views; the first one was used"
SIDE_FROM_WORDS = "the side was found in a description only"
VIEW_FROM_WORDS = "the view was found in a description only"
VIEW_FROM_ORIENTATION = "the view was derived from PatientOrientation"
MAGNIFIED = "magnification or spot compression view"

_CBIS = re.compile(r"P_\d{1,9}_(?P<side>LEFT|RIGHT)_(?P<view>CC|MLO)")
_WORD = re.compile(r"[A-Z]+")


@dataclass(frozen=True)
class Position:
    """Side LEFT or RIGHT, and view, both empty if the file does not state them; and doubts."""

    side: str
    view: str
    notes: tuple[str, ...]


def position_of(dataset: Dataset) -> Position:
    """Find side and view."""
    side, side_notes = _first(dataset, SIDE_SOURCES, SIDES_DIFFER)
    view, view_notes = _first(dataset, VIEW_SOURCES, VIEWS_DIFFER)
    notes = (*side_notes, *view_notes, *([MAGNIFIED] if _is_magnified(dataset) else []))
    return Position(side, view, notes)


Source = tuple[Callable[[Dataset], str], str]
"""A function that finds a side or view, and the note for a doubtful source."""


def _first(dataset: Dataset, sources: tuple[Source, ...], differ: str) -> tuple[str, tuple[str, ...]]:
    """The value of the first source that has one. Doubtful sources are not compared with it."""
    found = [(value, note) for read, note in sources if (value := read(dataset))]
    if not found:
        return "", ()
    value, note = found[0]
    contradicted = any(other != value for other, doubt in found[1:] if not doubt)
    return value, tuple(text for text in (note, differ if contradicted else "") if text)


def _image_laterality(dataset: Dataset) -> str:
    return SIDES.get(text_of(dataset, "ImageLaterality"), "")


def _laterality(dataset: Dataset) -> str:
    return SIDES.get(text_of(dataset, "Laterality"), "")


def _frame_laterality(dataset: Dataset) -> str:
    anatomy = [
        item
        for group in items_of(dataset, "SharedFunctionalGroupsSequence")
        for item in items_of(group, "FrameAnatomySequence")
    ]
    found = (SIDES.get(text_of(item, "FrameLaterality"), "") for item in anatomy)
    return next((side for side in found if side), "")


def _view_position(dataset: Dataset) -> str:
    view = text_of(dataset, "ViewPosition")
    return view if view in VIEWS else ""


def _view_code(dataset: Dataset) -> str:
    found = (VIEW_CODES.get(text_of(item, "CodeValue"), "") for item in items_of(dataset, "ViewCodeSequence"))
    return next((view for view in found if view), "")


def _view_as_orientation(dataset: Dataset) -> str:
    orientation = text_of(dataset, "PatientOrientation")
    return orientation if orientation in ("CC", "MLO") else ""


def _view_of_directions(dataset: Dataset) -> str:
    directions = texts_of(dataset, "PatientOrientation")
    if len(directions) != 2 or directions[0][:1] not in ("A", "P"):
        return ""
    letters = set(directions[1])
    if letters in ({"L"}, {"R"}):
        return "CC"
    return "MLO" if len(letters) == 2 and letters & set("LR") and letters & set("FH") else ""


def _cbis(part: str) -> Callable[[Dataset], str]:
    def read(dataset: Dataset) -> str:
        found = _CBIS.search(text_of(dataset, "PatientID"))
        return found[part] if found else ""

    return read


def _side_of_words(dataset: Dataset) -> str:
    found = {SIDES[word] for word in _words(dataset) if word in SIDES}
    found |= {SIDES[word[0]] for word in _words(dataset) if word[0] in "LR" and word[1:] in ("CC", "MLO")}
    return found.pop() if len(found) == 1 else ""


def _view_of_words(dataset: Dataset) -> str:
    found = {word if word in VIEWS else word[1:] for word in _words(dataset) if _ends_in_view(word)}
    return found.pop() if len(found) == 1 else ""


def _ends_in_view(word: str) -> bool:
    """Whether a word is a common view, perhaps with the letter of its side before it, such as LCC."""
    return word in ("CC", "MLO", "ML", "XCCL") or (word[0] in "LR" and word[1:] in ("CC", "MLO"))


def _words(dataset: Dataset) -> list[str]:
    return [word for keyword in DESCRIPTIONS for word in _WORD.findall(text_of(dataset, keyword)[:200])]


def _is_magnified(dataset: Dataset) -> bool:
    modifiers = [
        text_of(modifier, "CodeValue")
        for view in items_of(dataset, "ViewCodeSequence")
        for modifier in items_of(view, "ViewModifierCodeSequence")
    ]
    return any(code in MODIFIER_CODES for code in modifiers)


SIDE_SOURCES: tuple[Source, ...] = (
    (_image_laterality, ""),
    (_frame_laterality, ""),
    (_laterality, ""),
    (_cbis("side"), ""),
    (_side_of_words, SIDE_FROM_WORDS),
)
VIEW_SOURCES: tuple[Source, ...] = (
    (_view_position, ""),
    (_view_code, ""),
    (_view_as_orientation, ""),
    (_cbis("view"), ""),
    (_view_of_directions, VIEW_FROM_ORIENTATION),
    (_view_of_words, VIEW_FROM_WORDS),
)
