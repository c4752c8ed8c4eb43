"""A cache that is bounded by what its values weigh, for threads: each value is made once while it stays."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

V = TypeVar("V")


class BoundedCache(Generic[V]):
    """Keeps values up to `limit` in all of what `weigh` says of each; those that were asked for longest ago go first.

    Of threads that ask for the same value at once, one makes it and the others wait for it.
    """

    def __init__(self, limit: int, weigh: Callable[[V], int]) -> None:
        self.limit, self.weight = limit, 0
        self._weigh = weigh
        self._entries: OrderedDict[Hashable, Future[V]] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, key: Hashable) -> bool:
        """Whether the value of a key is here, or being made."""
        with self._lock:
            return key in self._entries

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """The value of a key. An error of `make` is raised to all who wait for it, and is not kept."""
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
            self._forget()
        return value

    def _forget(self) -> None:
        while self.weight > self.limit:
            oldest = next(key for key, entry in self._entries.items() if entry.done())
            self.weight -= self._weigh(self._entries.pop(oldest).result())
