"""The bounded cache, alone and among threads."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.machine.cache import BoundedCache


@given(st.lists(st.integers(0, 9), max_size=60), st.integers(0, 20))
def test_it_keeps_what_was_asked_for_last_within_its_limit(keys: list[int], limit: int) -> None:
    """After any calls the weight is that of what is kept and within the limit; a value that is made again was not among
    the newest that fit."""
    cache: BoundedCache[int] = BoundedCache(limit, lambda value: value)
    newest: list[int] = []
    for key in keys:
        made: list[int] = []
        assert cache.get(key, lambda key=key, made=made: made.append(key) or key) == key  # type: ignore[misc]
        assert bool(made) == (key not in newest)
        newest = [kept for kept in newest if kept != key] + [key]
        while sum(newest) > limit:
            newest.pop(0)
        assert cache.weight == sum(newest) <= limit


def test_threads_that_ask_at_once_share_one_making() -> None:
    """Of eight threads one makes the value, and all get it."""
    cache: BoundedCache[object] = BoundedCache(10, lambda _: 1)
    made: list[object] = []
    all_asked = threading.Barrier(8)

    def make() -> object:
        made.append(object())
        return made[-1]

    def ask(_: int) -> object:
        all_asked.wait(10)
        return cache.get("key", make)

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(ask, range(8)))
    assert found == {made[0]} and len(made) == 1


def test_an_error_is_not_kept() -> None:
    """What could not be made is tried again by the next who asks."""
    cache: BoundedCache[int] = BoundedCache(10, lambda _: 1)
    with pytest.raises(ZeroDivisionError):
        cache.get("key", lambda: 1 // 0)
    assert (cache.get("key", lambda: 7), cache.weight) == (7, 1)
