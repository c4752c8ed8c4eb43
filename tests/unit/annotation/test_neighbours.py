"""The neighbours of a unit in a list, compared with a walk over the whole list."""

import pytest

from services.annotation.neighbours import Neighbours, neighbours
from services.annotation.repository import Entry, entries
from services.annotation.schemas import Place
from tests.fakes.annotation import LAYER, SILENT, YES, Annotation

LISTS = [
    Place(list="subset"),
    Place(list="subset", sort="class"),
    Place(list="all"),
    Place(list="all", sort="class"),
    Place(list="ranked"),
    Place(list="ranked", label=0),
    Place(list="ranked", label=2),
]

UNITS = [unit for unit in range(30) if unit != SILENT]


def walked(found: list[Entry], unit: int) -> Neighbours:
    """The neighbours of a unit in a list that was read."""
    at = next((index for index, entry in enumerate(found) if entry.unit == unit), -1)
    ahead = [*found[at + 1 :], *found[: max(at, 0)]]
    return Neighbours(
        position=at + 1,
        total=len(found),
        previous=found[at - 1].unit if at > 0 else None,
        next=found[at + 1].unit if at + 1 < len(found) else None,
        next_unanswered=next((entry.unit for entry in ahead if not entry.answered and not entry.silent), None),
    )


@pytest.mark.parametrize(
    "answered", [[], [2, 3, 28, 29], UNITS[:-1], UNITS], ids=["none", "some", "all but one", "all"]
)
def test_neighbours_are_those_of_the_whole_list(annotation_everywhere: Annotation, answered: list[int]) -> None:
    """The neighbours of each unit in each list are those of the list that is read as a whole. A unit that is not in it
    has none before it. The answers of another reader change nothing."""
    annotation = annotation_everywhere
    ana, ben = annotation.readers.named("Ana"), annotation.readers.named("Ben")
    annotation.responses.put(ben, annotation.key(1), YES, 0)
    for unit in answered:
        annotation.responses.put(ana, annotation.key(unit), YES, 0)
    with annotation.ports.records.reading() as session:
        for place in LISTS:
            found = entries(session, annotation.study_id, LAYER, place, ana.reader_id)
            assert found
            for unit in (*range(30), 99):
                key = annotation.key(unit)
                assert neighbours(session, key, place, ana.reader_id) == walked(found, unit), (place, unit)
