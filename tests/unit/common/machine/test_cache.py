"""The bounded cache, with one thread and with several."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.machine.cache import BoundedCache


@given(st.lists(st.integers(0, 9), max_size=60), st.integers(0, 20))
def test_the_most_recently_used_values_stay_within_the_limit(keys: list[int], limit: int) -> None:
    """After any calls the weight is that of the stored values and within the limit. Only values that are not among the
    most recently used ones that fit are made again."""
    cache: BoundedCache[int] = BoundedCache(limit, lambda value: value)
    newest: list[int] = []
    for key in keys:
        made: list[int] = []
        assert cache.get(key, lambda key=key, made=made: made.append(key) or key) == key  # type: ignore[misc]
        assert bool(made) == (key not in newest)
        newest = [other for other in newest if other != key] + [key]
        while sum(newest) > limit:
            newest.pop(0)
        assert cache.weight == sum(newest) <= limit


def test_concurrent_threads_share_one_value() -> None:
    """One of eight threads makes the value, and all receive it."""
    cache: BoundedCache[object] = BoundedCache(10, lambda _: 1)
    made: list[object] = []
    barrier = threading.Barrier(8)

    def make() -> object:
        made.append(object())
        return made[-1]

    def get(_: int) -> object:
        barrier.wait(10)
        return cache.get("key", make)

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(get, range(8)))
    assert found == {made[0]} and len(made) == 1


def test_an_error_is_not_cached() -> None:
    """The next request of a value that could not be made makes it again."""
    cache: BoundedCache[int] = BoundedCache(10, lambda _: 1)
    with pytest.raises(ZeroDivisionError):
        cache.get("key", lambda: 1 // 0)
    assert (cache.get("key", lambda: 7), cache.weight) == (7, 1)
