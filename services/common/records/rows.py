"""Reading rows: one by its key, all of a table, or a page of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, func, inspect, select
from sqlalchemy.orm import Session

from services.common.errors import NotFound
from services.common.paging import Window, next_offset
from services.common.redaction import quoted

R = TypeVar("R")


@dataclass(frozen=True)
class Page(Generic[R]):
    """Some rows of a table, with the number of all and the offset of the next page."""

    rows: Sequence[R]
    total: int
    next_offset: int | None


def get_row(session: Session, table: type[R], key: Any, noun: str, lock: bool = False) -> R:
    """The row of a key, locked until the transaction ends if `lock`. NotFound names the noun and the key."""
    row = session.get(table, key, with_for_update=lock)
    if row is None:
        raise NotFound(f"there is no {noun} {quoted(key)}")
    return row


def newest_first(session: Session, table: type[R], *conditions: ColumnElement[bool]) -> Sequence[R]:
    """The rows of a table that meet all conditions, by falling time of creation."""
    return session.scalars(_newest(table, conditions)).all()


def newest_page(session: Session, table: type[R], window: Window, *conditions: ColumnElement[bool]) -> Page[R]:
    """The rows in a window of `newest_first`.

    The table needs an index on `created` and its key, so that the database does not sort all rows for a page. Rows that
    are added between two calls move others to a later page: none is missed, some may be read twice.
    """
    total = session.scalar(select(func.count()).select_from(table).where(*conditions)) or 0
    rows = session.scalars(_newest(table, conditions).offset(window.offset).limit(window.limit)).all()
    return Page(rows, total, next_offset(window, total))


def _newest(table: type[R], conditions: Sequence[ColumnElement[bool]]) -> Select[R]:
    created: Any = table.created  # type: ignore[attr-defined]
    keys = inspect(table).primary_key
    return select(table).where(*conditions).order_by(created.desc(), *(key.desc() for key in keys))
