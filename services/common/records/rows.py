"""Reading rows: one by its key, or all of a table."""

from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from services.common.errors import NotFound
from services.common.redaction import quoted

R = TypeVar("R")


def get_row(session: Session, table: type[R], key: Any, noun: str, lock: bool = False) -> R:
    """The row of a key, locked until the transaction ends if `lock`. NotFound names the noun and the key."""
    row = session.get(table, key, with_for_update=lock)
    if row is None:
        raise NotFound(f"there is no {noun} {quoted(key)}")
    return row


def newest_first(session: Session, table: type[R], *conditions: ColumnElement[bool]) -> Sequence[R]:
    """The rows of a table that meet all conditions, by falling time of creation."""
    created: Any = table.created  # type: ignore[attr-defined]
    return session.scalars(select(table).where(*conditions).order_by(created.desc())).all()
