"""Lists and tables of the Python client."""

import sys
from collections.abc import Sequence
from itertools import islice

import httpx
import pytest

from primitives_client import MissingPackage, NotFound, Pages, Table
from primitives_client.tables import Row
from tests.fakes.http_services import HttpServices, dataset


def numbers(count: int, calls: list[tuple[int, int]], page: int = 3) -> Pages[int]:
    """Return a list of numbers that records which pages are read."""

    def read(offset: int, limit: int) -> tuple[Sequence[int], int]:
        calls.append((offset, limit))
        return list(range(count))[offset : offset + limit], count

    return Pages(read, lambda number: {"number": number, "square": number * number}, page)


@pytest.mark.parametrize(("count", "offsets"), [(0, [0]), (2, [0]), (3, [0]), (7, [0, 3, 6])])
def test_a_list_is_read_page_by_page(count: int, offsets: list[int]) -> None:
    """No page is read twice, and none beyond the end."""
    calls: list[tuple[int, int]] = []
    assert list(numbers(count, calls)) == list(range(count))
    assert calls == [(offset, 3) for offset in offsets]


def test_only_the_pages_that_are_used_are_read() -> None:
    """Iteration stops where the caller stops; a list that is not used reads nothing."""
    calls: list[tuple[int, int]] = []
    pages = numbers(100, calls)
    assert calls == []
    assert list(islice(pages, 4)) == [0, 1, 2, 3]
    assert [offset for offset, _ in calls] == [0, 3]


def test_first_and_count_read_one_item() -> None:
    """The first one of an empty list is NotFound."""
    calls: list[tuple[int, int]] = []
    assert (numbers(7, calls).first(), numbers(7, calls).count()) == (0, 7)
    assert calls == [(0, 1)] * 2
    with pytest.raises(NotFound, match="empty"):
        numbers(0, calls).first()


def test_a_list_that_shrinks_ends() -> None:
    """An empty page ends it, whatever the length was."""
    pages: Pages[int] = Pages(lambda offset, _limit: ([1] if offset == 0 else [], 5), lambda number: {"n": number})
    assert list(pages) == [1]


def test_a_list_is_shown_as_its_first_rows() -> None:
    """In a terminal and in a notebook, with the length of the whole list."""
    calls: list[tuple[int, int]] = []
    pages = numbers(30, calls)
    assert repr(pages).splitlines()[:2] == ["number  square", "0       0"]
    assert repr(pages).splitlines()[-1] == "10 of 30"
    assert pages._repr_html_().count("<tr>") == 11
    assert {limit for _, limit in calls} == {10}


def test_lists_of_services_send_offset_and_limit() -> None:
    """The pages of a service have the length of the whole list."""
    pages = [
        httpx.Response(200, json={"total": 3, "next_offset": 2, "datasets": [dataset(1), dataset(2)]}),
        httpx.Response(200, json={"total": 3, "next_offset": None, "datasets": [dataset(3)]}),
    ]
    services = HttpServices(*pages)
    found = services.client().datasets.list().to_table()
    assert [row["dataset_id"] for row in found] == ["dataset-1", "dataset-2", "dataset-3"]
    assert [str(one.url.params) for one in services.requests] == ["offset=0&limit=100", "offset=2&limit=100"]
    assert found[0]["val"] == 24


ROWS: list[Row] = [{"name": "<b>", "auc": 0.123456}, {"name": "two", "rank": 3}]


def test_a_table_has_all_columns() -> None:
    """Missing values are empty; numbers are short; markup is text."""
    table = Table(ROWS)
    assert table.columns == ["name", "auc", "rank"]
    assert repr(table).splitlines() == ["name  auc     rank", "<b>   0.1235", "two           3"]
    assert "&lt;b&gt;" in table._repr_html_() and "<b>" not in table._repr_html_()
    assert table[1]["rank"] == 3 and len(table) == 2


def test_a_table_is_a_data_frame() -> None:
    """With the columns in their order and missing values as pandas has them."""
    frame = Table(ROWS).to_pandas()
    assert list(frame.columns) == ["name", "auc", "rank"]
    assert frame["rank"].isna().tolist() == [True, False]


def test_without_pandas_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the extra."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingPackage, match=r"visual-primitives-client\[pandas\]"):
        Table(ROWS).to_pandas()
