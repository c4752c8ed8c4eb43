"""Decoding ahead."""

import threading

import pytest

from services.imaging.prefetch import BATCHES_AHEAD, prefetch


def test_results_come_in_order_and_a_bounded_way_ahead() -> None:
    """Every item once, in order; never more than BATCHES_AHEAD are taken before they are asked for."""
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


def test_what_the_work_raises_is_raised_and_its_threads_end() -> None:
    """A patch that cannot be decoded ends the iteration with its error, and no thread is left."""
    before = threading.active_count()

    def work(number: int) -> int:
        if number == 3:
            raise ValueError("patch 3")
        return number

    with pytest.raises(ValueError, match="patch 3"):
        list(prefetch(work, range(10)))
    assert threading.active_count() == before


def test_nothing_gives_nothing() -> None:
    """An empty input ends at once."""
    assert list(prefetch(str, [])) == []
