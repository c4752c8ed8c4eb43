"""Working ahead in threads."""

import threading

import pytest

from services.imaging.prefetch import BATCHES_AHEAD, prefetch


def test_results_are_in_order_and_a_bounded_number_is_ahead() -> None:
    """Every item is processed once, in order. At most BATCHES_AHEAD items are started before they are needed."""
    taken: list[int] = []

    def items() -> object:
        for number in range(20):
            taken.append(number)
            yield number

    results = prefetch(lambda number: number * 2, items())  # type: ignore[arg-type]
    for expected in range(20):
        assert next(results) == expected * 2
        assert len(taken) <= expected + 1 + BATCHES_AHEAD
    with pytest.raises(StopIteration):
        next(results)


def test_an_error_ends_the_iteration_and_the_threads() -> None:
    """A patch that cannot be decoded ends the iteration with its error, and no thread remains."""
    before = threading.active_count()

    def work(number: int) -> int:
        if number == 3:
            raise ValueError("patch 3")
        return number

    with pytest.raises(ValueError, match="patch 3"):
        list(prefetch(work, range(10)))
    assert threading.active_count() == before


def test_no_items_give_no_results() -> None:
    """An empty input ends at once."""
    assert list(prefetch(str, [])) == []
