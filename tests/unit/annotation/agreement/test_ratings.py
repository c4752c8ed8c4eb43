"""Tables of ratings."""

import numpy as np
import pytest

from services.annotation.agreement.ratings import MISSING, Ratings
from services.common.errors import InvalidInput


def test_counts_of_a_table() -> None:
    """Counts, readings and pairs leave missing readings out."""
    ratings = Ratings.of([[0, 1, 1], [2, MISSING, MISSING], [MISSING, 2, 2], [MISSING] * 3], 3)
    assert ratings.counts.tolist() == [[1, 2, 0], [0, 0, 1], [0, 0, 2], [0, 0, 0]]
    assert ratings.readings.tolist() == [3, 1, 2, 0]
    assert ratings.pairable.tolist() == [True, False, True, False]
    assert (ratings.pairs, ratings.used_readers, ratings.readers) == (4, 3, 3)
    assert len(ratings.read().codes) == 3


def test_a_masked_entry_is_missing() -> None:
    """A masked array has the same meaning as a table with MISSING."""
    masked = np.ma.masked_array([[0, 1], [1, 1]], mask=[[False, True], [False, False]])
    assert Ratings.of(masked, 2).codes.tolist() == [[0, MISSING], [1, 1]]


def test_readings_become_a_table() -> None:
    """Units and readers are rows and columns in the order in which they occur, and choices are codes."""
    readings = [("u2", "ann", "no"), ("u1", "bob", "yes"), ("u2", "bob", "unsure")]
    ratings = Ratings.of_readings(readings, ["yes", "no", "unsure"])
    assert ratings.codes.tolist() == [[1, 2], [MISSING, 0]]
    assert ratings.categories == 3


@pytest.mark.parametrize(
    ("codes", "categories", "message"),
    [
        ([0, 1], 2, "1 dimensions"),
        ([[0.5, 1.0]], 2, "float64"),
        ([[0, 1]], 1, "1 categories"),
        ([[0, 2]], 2, "the code 2"),
        ([[0, -2]], 2, "the code -2"),
    ],
)
def test_a_wrong_table_is_refused(codes: list[object], categories: int, message: str) -> None:
    """The error names what was found."""
    with pytest.raises(InvalidInput, match=message):
        Ratings.of(np.array(codes), categories)


@pytest.mark.parametrize(
    ("readings", "message"),
    [
        ([("u1", "ann", "maybe")], "'maybe'"),
        ([("u1", "ann", "yes"), ("u1", "ann", "no")], "two readings of reader ann"),
    ],
)
def test_a_wrong_reading_is_refused(readings: list[tuple[str, str, str]], message: str) -> None:
    """A choice that the question does not have, and a second reading, are errors: nothing is overwritten silently."""
    with pytest.raises(InvalidInput, match=message):
        Ratings.of_readings(readings, ["yes", "no"])
