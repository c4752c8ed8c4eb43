"""Fields of tables: what is read, and what is not."""

import pytest

from services.training.raw.source.fields import category, date, density, number, side, view, whole, worst_category


@pytest.mark.parametrize(
    ("text", "value"),
    [("3.5", 3.5), (" 7 ", 7.0), (2, 2.0), ("nan", None), ("1e309", None), ("1e7", None), ("", None), (True, None),
     (None, None), (10**400, None), ("9" * 100, None), ([1], None)],
)  # fmt: skip
def test_a_number_is_finite_and_bounded(text: object, value: float | None) -> None:
    """Everything else is None."""
    assert number(text) == value


@pytest.mark.parametrize(("text", "value"), [("3.0", 3), ("3", 3), ("3.5", None), ("-1", -1), ("x", None)])
def test_whole_numbers_may_have_decimals_of_a_spreadsheet(text: str, value: int | None) -> None:
    """3.0 is 3."""
    assert whole(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("BI-RADS 4", 4), ("4a", 4), ("4C", 4), ("0", 0), ("5.0", 5), ("BIRADS: 2", 2), ("7", None), ("45", None),
     ("", None), ("_", None)],
)  # fmt: skip
def test_categories(text: str, value: int | None) -> None:
    """Letters of subcategories are dropped."""
    assert category(text) == value


def test_the_worst_category() -> None:
    """0 is no all-clear, and less than a suspicion."""
    assert worst_category([1, 2, 0]) == 0
    assert worst_category([0, 3, 1]) == 3
    assert worst_category([2, None, 1]) == 2
    assert worst_category([None]) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [("DENSITY A", "a"), ("D", "d"), ("1", "a"), ("4.0", "d"), ("5", ""), ("0", ""), ("_", ""), ("", "")],
)
def test_densities(text: str, value: str) -> None:
    """Letters, or ACR numbers 1 to 4."""
    assert density(text) == value


def test_sides_views_and_dates() -> None:
    """Empty text stands for everything that is none."""
    assert [side(text) for text in ("L", "right", "B", "")] == ["LEFT", "RIGHT", "", ""]
    assert [view(text) for text in ("cc", "MLO", "XCCL", "C C", "")] == ["CC", "MLO", "XCCL", "", ""]
    assert [date(text) for text in ("201001", "201001.0", "2010-01-05", "none")] == ["201001", "201001", "20100105", ""]
