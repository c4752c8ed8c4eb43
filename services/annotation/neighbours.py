"""Finds the neighbours of a unit in a list by searches in indexes, without reading the list."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, SQLColumnExpression, and_, exists, false, func, or_, select, true
from sqlalchemy.orm import Session

from services.annotation.repository import UnitKey, same_unit
from services.annotation.schemas import Place
from services.annotation.tables import RankRow, ResponseRow, UnitRow


@dataclass(frozen=True)
class Neighbours:
    """The position of a unit in a list, from 1 (0 if it is not in the list), and the channels of its neighbours."""

    position: int
    total: int
    previous: int | None
    next: int | None
    next_unanswered: int | None


@dataclass(frozen=True)
class UnitOrder:
    """The units of a list and its order: columns of which each is ascending."""

    units: Select[int]
    columns: tuple[SQLColumnExpression[Any], ...]

    def first(self, *conditions: ColumnElement[bool]) -> Any:
        """The first unit of the list that meets some conditions."""
        return self.units.where(*conditions).order_by(*self.columns).limit(1).scalar_subquery()

    def last(self, *conditions: ColumnElement[bool]) -> Any:
        """The last unit of the list that meets some conditions."""
        backwards = [column.desc() for column in self.columns]
        return self.units.where(*conditions).order_by(*backwards).limit(1).scalar_subquery()

    def sides(self, session: Session, unit: int) -> tuple[bool, ColumnElement[bool], ColumnElement[bool]]:
        """Whether a unit is in the list, and the conditions of the units before and after it. All units are after one
        that is not in the list."""
        own = session.execute(self.units.with_only_columns(*self.columns).where(UnitRow.unit == unit)).one_or_none()
        if own is None:
            return False, false(), true()
        pairs = list(zip(self.columns, own, strict=True))
        before = (_differs(pairs[:place], column < value) for place, (column, value) in enumerate(pairs))
        after = (_differs(pairs[:place], column > value) for place, (column, value) in enumerate(pairs))
        return True, or_(*before), or_(*after)


def neighbours(session: Session, key: UnitKey, place: Place, reader_id: str) -> Neighbours:
    """The neighbours of a unit in a list. The filter of `place` is not applied.

    The search for the next unit without an answer skips silent units, and continues at the start of the list.
    """
    order = order_of(key, place)
    is_listed, before, after = order.sides(session, key[2])
    answered = exists().where(same_unit(ResponseRow, UnitRow), ResponseRow.reader_id == reader_id)
    to_answer = (~UnitRow.silent, ~answered)
    counts = order.units.with_only_columns(func.count(), func.count().filter(before)).subquery()
    next_unanswered = func.coalesce(order.first(after, *to_answer), order.first(before, *to_answer))
    found = select(*counts.c, order.last(before), order.first(after), next_unanswered)
    total, preceding, *around = session.execute(found).one()
    return Neighbours(preceding + 1 if is_listed else 0, total, *around)


def order_of(key: UnitKey, place: Place) -> UnitOrder:
    """The order of the list of `place` in the layer of a unit. The ranked list without a class has the units of all
    rankings, by number."""
    units = select(UnitRow.unit).where(UnitRow.study_id == key[0], UnitRow.layer == key[1])
    if place.list == "ranked" and place.label is not None:
        ranked = (RankRow.study_id == key[0], RankRow.layer == key[1], RankRow.label == place.label)
        return UnitOrder(units.join(RankRow, same_unit(RankRow, UnitRow)).where(*ranked), (RankRow.rank,))
    listed = {"subset": UnitRow.in_subset, "ranked": UnitRow.in_ranking}.get(place.list)
    if listed is not None:
        units = units.where(listed)
    return UnitOrder(units, (-UnitRow.positives, UnitRow.unit) if place.sort == "class" else (UnitRow.unit,))


def _differs(equal: list[tuple[SQLColumnExpression[Any], Any]], last: ColumnElement[bool]) -> ColumnElement[bool]:
    return and_(*(column == value for column, value in equal), last)
