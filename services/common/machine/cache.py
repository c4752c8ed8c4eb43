"""A thread-safe cache that is bounded by the weight of its values. A value is made once for as long as it stays."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

V = TypeVar("V")


class BoundedCache(Generic[V]):
    """Keeps values up to a total weight of `limit`, and evicts the least recently used.

    `weigh` returns the weight of a value. If several threads request the same value at once, one makes it and the rest
    wait for it.
    """

    def __init__(self, limit: int, weigh: Callable[[V], int]) -> None:
        self.limit, self.weight = limit, 0
        self._weigh = weigh
        self._entries: OrderedDict[Hashable, Future[V]] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, key: Hashable) -> bool:
        """Return whether the value of a key is in the cache, or is being made."""
        with self._lock:
            return key in self._entries

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """Return the value of a key. All callers that wait for it receive an error of `make`; errors are not cached."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
            else:
                ours = self._entries[key] = Future()
        return entry.result() if entry is not None else self._make(key, ours, make)

    def _make(self, key: Hashable, ours: "Future[V]", make: Callable[[], V]) -> V:
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                del self._entries[key]
            ours.set_exception(error)
            raise
        with self._lock:
            ours.set_result(value)
            self.weight += self._weigh(value)
            self._evict()
        return value

    def _evict(self) -> None:
        while self.weight > self.limit:
            oldest = next(key for key, entry in self._entries.items() if entry.done())
            self.weight -= self._weigh(self._entries.pop(oldest).result())
