"""Lists that are read page by page while they are iterated."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from primitives_client.errors import NotFound
from primitives_client.tables import Row, Table

if TYPE_CHECKING:
    import pandas

T = TypeVar("T")

PAGE = 100
SHOWN = 10
"""Items that a notebook or terminal shows of a list."""


class Pages(Generic[T]):
    """A list of a service. Each iteration reads it again, a page at a time, from the beginning.

    `read` returns the items from an offset on, at most a limit, and the length of the whole list. An item that is added
    at the front meanwhile moves the others, so one may be read twice, but none is missed.
    """

    def __init__(
        self, read: Callable[[int, int], tuple[Sequence[T], int]], row: Callable[[T], Row], page: int = PAGE
    ) -> None:
        self._read, self._row, self._page = read, row, page

    def __iter__(self) -> Iterator[T]:
        offset, total = 0, 1
        while offset < total:
            items, total = self._read(offset, self._page)
            yield from items
            if not items:
                return
            offset += len(items)

    def first(self) -> T:
        """Read the first item, which is the newest one of most lists. NotFound if the list is empty."""
        items, _ = self._read(0, 1)
        if not items:
            raise NotFound("the list is empty")
        return items[0]

    def count(self) -> int:
        """Read the length of the list."""
        return self._read(0, 1)[1]

    def to_table(self) -> Table:
        """Read all items, a row each."""
        return Table([self._row(item) for item in self])

    def to_pandas(self) -> "pandas.DataFrame":
        """Read all items into a data frame, a row each. MissingPackage without pandas."""
        return self.to_table().to_pandas()

    def __repr__(self) -> str:
        return repr(self._shown())

    def _repr_html_(self) -> str:
        return self._shown()._repr_html_()

    def _shown(self) -> Table:
        items, total = self._read(0, SHOWN)
        return Table([self._row(item) for item in items], f"{len(items)} of {total}")
