"""The database queries of the annotation service. Each uses a given session, and none runs one query per unit."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, and_, cast, exists, false, func, or_, select, true
from sqlalchemy.orm import Session, aliased

from services.annotation.schemas import Place
from services.annotation.tables import (
    LayerRow,
    MammogramRow,
    MemberRow,
    RankRow,
    ReaderRow,
    ResponseLogRow,
    ResponseRow,
    StudyRow,
    UnitRow,
)
from services.common.errors import NotFound
from services.common.records import get_row
from services.common.redaction import quoted

AnsweredByLayer = dict[tuple[str, str], tuple[int, int, int]]
"""By study and layer: the numbers of answered units in the list of all, in the subset and in the ranking."""

UnitKey = tuple[str, str, int]
"""Study, layer, channel."""


@dataclass(slots=True)
class Entry:
    """A unit in a list. Only the ranked list has rank, score and count."""

    unit: int
    silent: bool
    answered: bool
    rank: int | None = None
    score: float | None = None
    count: int | None = None


def study_row(session: Session, study_id: str) -> StudyRow:
    """The row of a study. NotFound if it does not exist."""
    return get_row(session, StudyRow, study_id, "study")


def study_rows(session: Session, study_ids: Collection[str]) -> dict[str, StudyRow]:
    """The rows of studies, by id."""
    return {row.study_id: row for row in session.scalars(select(StudyRow).where(StudyRow.study_id.in_(study_ids)))}


def readable_study(session: Session, study_id: str, reader_id: str | None) -> StudyRow:
    """The row of a study that a reader sees, or any call if it is None. NotFound is the same for a study that does not
    exist and for one of other readers."""
    row = session.get(StudyRow, study_id)
    if row is None or (row.members_only and reader_id is not None and not _is_member(session, study_id, reader_id)):
        raise NotFound(f"there is no study {quoted(study_id)}")
    return row


def open_study(session: Session, study_id: str, reader_id: str | None) -> StudyRow:
    """The row of an open study that a reader sees. NotFound if it is not open."""
    row = readable_study(session, study_id, reader_id)
    if row.state != "completed":
        raise NotFound(f"study {quoted(study_id)} is {row.state}; it has no units yet")
    return row


def seen_by(reader_id: str | None) -> ColumnElement[bool]:
    """The condition that a reader sees a study. If it is None, the call is not made for a reader and sees all."""
    if reader_id is None:
        return true()
    own = exists().where(MemberRow.study_id == StudyRow.study_id, MemberRow.reader_id == reader_id)
    return or_(~StudyRow.members_only, own)


def member_names(session: Session, study_id: str) -> list[str]:
    """The names of the members of a study."""
    query = select(ReaderRow.name).join(MemberRow, MemberRow.reader_id == ReaderRow.reader_id)
    return list(session.scalars(query.where(MemberRow.study_id == study_id).order_by(ReaderRow.name_key)))


def layer_row(session: Session, study_id: str, layer: str) -> LayerRow:
    """The row of a layer. NotFound if it does not exist."""
    row = session.get(LayerRow, (study_id, layer))
    if row is None:
        raise NotFound(f"study {study_id} has no layer {quoted(layer)}")
    return row


def unit_row(session: Session, key: UnitKey) -> UnitRow:
    """The row of a unit. NotFound if it does not exist."""
    row = session.get(UnitRow, key) if key[2] < 2**31 else None
    if row is None:
        raise NotFound(f"study {key[0]} has no unit {key[2]} in a layer {quoted(key[1])}")
    return row


def layers(session: Session, study_ids: Collection[str]) -> Sequence[LayerRow]:
    """The layers of studies, in the order of their renderings."""
    query = select(LayerRow).where(LayerRow.study_id.in_(study_ids))
    return session.scalars(query.order_by(LayerRow.study_id, LayerRow.position)).all()


def answered_by_layer(session: Session, reader_id: str, study_ids: Collection[str]) -> AnsweredByLayer:
    """How many units of each list of some studies a reader has answered."""
    counts = (
        select(
            ResponseRow.study_id,
            ResponseRow.layer,
            func.count(),
            func.sum(cast(UnitRow.in_subset, Integer)),
            func.sum(cast(UnitRow.in_ranking, Integer)),
        )
        .join(UnitRow, same_unit(ResponseRow, UnitRow))
        .where(ResponseRow.reader_id == reader_id, ResponseRow.study_id.in_(study_ids), UnitRow.study_id.in_(study_ids))
        .group_by(ResponseRow.study_id, ResponseRow.layer)
    )
    return {(study, layer): (every, subset, ranked) for study, layer, every, subset, ranked in session.execute(counts)}


def entries(session: Session, study_id: str, layer: str, place: Place, reader_id: str) -> list[Entry]:
    """All units of a list, in its order. The filter of `place` is not applied.

    The ranked list without a class has the units of all rankings, by number.
    """
    by_rank = place.list == "ranked" and place.label is not None
    query = _ranked(study_id, layer, place, reader_id) if by_rank else _listed(place, reader_id)
    query = query.where(UnitRow.study_id == study_id, UnitRow.layer == layer)
    return [Entry(*row) for row in session.execute(query)]


def same_unit(left: Any, right: Any) -> ColumnElement[bool]:
    """The condition that rows of two tables belong to the same unit."""
    return and_(left.study_id == right.study_id, left.layer == right.layer, left.unit == right.unit)


def unit_rows(session: Session, study_id: str, layer: str, units: Collection[int]) -> dict[int, UnitRow]:
    """The rows of some units of a layer, by channel."""
    query = select(UnitRow).where(UnitRow.study_id == study_id, UnitRow.layer == layer, UnitRow.unit.in_(units))
    return {row.unit: row for row in session.scalars(query)}


def units_by_key(session: Session, keys: Collection[UnitKey]) -> dict[UnitKey, UnitRow]:
    """The rows of units, which may belong to several layers."""
    rows = session.scalars(select(UnitRow).where(_is_one_of(UnitRow, keys)))
    return {(row.study_id, row.layer, row.unit): row for row in rows}


def answered_keys(session: Session, keys: Collection[UnitKey], reader_id: str) -> set[UnitKey]:
    """The units among `keys` that a reader has answered."""
    query = select(ResponseRow.study_id, ResponseRow.layer, ResponseRow.unit)
    rows = session.execute(query.where(_is_one_of(ResponseRow, keys, ResponseRow.reader_id == reader_id)))
    return {(*row,) for row in rows}


def ranks(session: Session, key: UnitKey) -> Sequence[RankRow]:
    """The ranks of a unit, by class."""
    study_id, layer, unit = key
    query = select(RankRow).where(RankRow.study_id == study_id, RankRow.layer == layer, RankRow.unit == unit)
    return session.scalars(query.order_by(RankRow.label)).all()


def mammograms(session: Session, study_id: str, numbers: Collection[int]) -> dict[int, MammogramRow]:
    """The rows of mammograms of a study, by number."""
    query = select(MammogramRow).where(MammogramRow.study_id == study_id, MammogramRow.number.in_(numbers))
    return {row.number: row for row in session.scalars(query)}


def response_row(session: Session, key: UnitKey, reader_id: str, for_update: bool = False) -> ResponseRow | None:
    """The row of a reader's answer to a unit, locked if `for_update`; None if there is none."""
    return session.get(ResponseRow, (*key, reader_id), with_for_update=for_update or None)


def logged(session: Session, key: UnitKey, reader_id: str, idempotency_key: str) -> ResponseLogRow | None:
    """The last answer that was saved with an idempotency key."""
    query = select(ResponseLogRow).where(
        ResponseLogRow.reader_id == reader_id,
        ResponseLogRow.idempotency_key == idempotency_key,
        ResponseLogRow.study_id == key[0],
        ResponseLogRow.layer == key[1],
        ResponseLogRow.unit == key[2],
    )
    return session.scalars(query.order_by(ResponseLogRow.position.desc()).limit(1)).first()


def responses_of(session: Session, reader_id: str, offset: int, limit: int) -> tuple[Sequence[ResponseRow], int]:
    """A part of a reader's answers, by study, layer and unit, and the number of all."""
    own = (ResponseRow.reader_id == reader_id, *_seen(reader_id))
    order = (ResponseRow.study_id, ResponseRow.layer, ResponseRow.unit)
    rows = session.scalars(select(ResponseRow).where(*own).order_by(*order).offset(offset).limit(limit)).all()
    return rows, count_responses(session, *own)


def count_own(session: Session, reader_id: str) -> int:
    """The number of a reader's answers in the studies that the reader sees."""
    return count_responses(session, ResponseRow.reader_id == reader_id, *_seen(reader_id))


def count_responses(session: Session, *conditions: ColumnElement[bool]) -> int:
    """The number of answers that meet all conditions."""
    return session.scalar(select(func.count()).select_from(ResponseRow).where(*conditions)) or 0


def latest_places(session: Session, reader_id: str, count: int) -> list[UnitKey]:
    """The units that a reader answered last, newest first."""
    query = select(ResponseRow.study_id, ResponseRow.layer, ResponseRow.unit)
    query = query.where(ResponseRow.reader_id == reader_id, *_seen(reader_id))
    return [(*row,) for row in session.execute(query.order_by(ResponseRow.saved.desc()).limit(count))]


def answers_by_reader(session: Session, viewer_id: str | None, study_id: str) -> list[tuple[str, str, int]]:
    """Id, name and number of answers of every reader, by name; in one study, or in all if `study_id` is empty. For a
    viewer: only in the studies that this reader sees, and only their readers."""
    counts = select(ResponseRow.reader_id, func.count()).where(*_seen(viewer_id, study_id))
    answers = dict(session.execute(counts.group_by(ResponseRow.reader_id)).all())
    query = select(ReaderRow.reader_id, ReaderRow.name).where(_reads_with(session, viewer_id))
    readers = session.execute(query.order_by(ReaderRow.name_key))
    return [(reader_id, name, answers.get(reader_id, 0)) for reader_id, name in readers]


def answered_by(
    session: Session, reader_id: str, viewer_id: str | None, study_id: str, window: tuple[int, int]
) -> list[UnitKey]:
    """A part (offset, limit) of the units that a reader answered, by study, layer and unit, in the studies that the
    viewer sees."""
    offset, limit = window
    columns = (ResponseRow.study_id, ResponseRow.layer, ResponseRow.unit)
    query = select(*columns).where(ResponseRow.reader_id == reader_id, *_seen(viewer_id, study_id))
    return [(*row,) for row in session.execute(query.order_by(*columns).offset(offset).limit(limit))]


def all_answered_by(
    session: Session, reader_ids: Collection[str], viewer_id: str | None, study_id: str
) -> dict[str, list[UnitKey]]:
    """The units that each of some readers answered, by study, layer and unit, in the studies that the viewer sees. A
    reader without one is left out."""
    columns = (ResponseRow.reader_id, ResponseRow.study_id, ResponseRow.layer, ResponseRow.unit)
    query = select(*columns).where(ResponseRow.reader_id.in_(reader_ids), *_seen(viewer_id, study_id))
    answered: defaultdict[str, list[UnitKey]] = defaultdict(list)
    for reader_id, study, layer, unit in session.execute(query.order_by(*columns)):
        answered[reader_id].append((study, layer, unit))
    return answered


def totals_by_layer(
    session: Session, names: Collection[str], study_ids: Collection[str]
) -> dict[tuple[str, str, str], int]:
    """How many units of each layer of some studies some readers answered, by reader, study and layer."""
    columns = (ReaderRow.name, ResponseRow.study_id, ResponseRow.layer)
    query = select(*columns, func.count()).join(ResponseRow, ResponseRow.reader_id == ReaderRow.reader_id)
    query = query.where(ReaderRow.name.in_(names), ResponseRow.study_id.in_(study_ids)).group_by(*columns)
    return {(name, study, layer): count for name, study, layer, count in session.execute(query)}


def answers_by_unit(session: Session, viewer_id: str, extraction_id: str, layer: str) -> list[tuple[int, str, int]]:
    """Unit, study and number of answers, for all units of a layer that were answered in a study of an extraction that
    the viewer sees."""
    counts = (
        select(ResponseRow.unit, ResponseRow.study_id, func.count())
        .join(StudyRow, StudyRow.study_id == ResponseRow.study_id)
        .where(StudyRow.extraction_id == extraction_id, ResponseRow.layer == layer, seen_by(viewer_id))
        .group_by(ResponseRow.unit, ResponseRow.study_id)
        .order_by(ResponseRow.unit, ResponseRow.study_id)
    )
    return [(*row,) for row in session.execute(counts)]


def answered_in_layers(session: Session, viewer_id: str, extraction_id: str) -> dict[str, int]:
    """How many units of each layer were answered in the studies of an extraction that the viewer sees."""
    units = (
        select(ResponseRow.layer, ResponseRow.unit)
        .join(StudyRow, StudyRow.study_id == ResponseRow.study_id)
        .where(StudyRow.extraction_id == extraction_id, seen_by(viewer_id))
        .distinct()
        .subquery()
    )
    counts = select(units.c.layer, func.count()).group_by(units.c.layer)
    return dict(session.execute(counts).all())


def _seen(viewer_id: str | None, study_id: str = "") -> tuple[ColumnElement[bool], ...]:
    """The conditions on answers in the studies that a reader sees, or in one of them. If the viewer is None, all are
    seen."""
    conditions = [ResponseRow.study_id == study_id] if study_id else []
    if viewer_id is not None:
        conditions.append(ResponseRow.study_id.in_(select(StudyRow.study_id).where(seen_by(viewer_id))))
    return tuple(conditions)


def _listed(place: Place, reader_id: str) -> Select[*tuple[Any, ...]]:
    query = select(UnitRow.unit, UnitRow.silent, ResponseRow.reader_id.is_not(None)).outerjoin(
        ResponseRow, and_(same_unit(ResponseRow, UnitRow), ResponseRow.reader_id == reader_id)
    )
    if place.list == "subset":
        query = query.where(UnitRow.in_subset)
    if place.list == "ranked":
        query = query.where(UnitRow.in_ranking)
    if place.sort == "class":
        return query.order_by(UnitRow.positives.desc(), UnitRow.unit)
    return query.order_by(UnitRow.unit)


def _ranked(study_id: str, layer: str, place: Place, reader_id: str) -> Select[*tuple[Any, ...]]:
    answered = ResponseRow.reader_id.is_not(None)
    return (
        select(UnitRow.unit, UnitRow.silent, answered, RankRow.rank, RankRow.score, RankRow.count)
        .select_from(RankRow)
        .join(UnitRow, same_unit(RankRow, UnitRow))
        .outerjoin(ResponseRow, and_(same_unit(ResponseRow, UnitRow), ResponseRow.reader_id == reader_id))
        .where(RankRow.study_id == study_id, RankRow.layer == layer, RankRow.label == place.label)
        .order_by(RankRow.rank)
    )


def _is_one_of(table: Any, keys: Collection[UnitKey], *also: ColumnElement[bool]) -> ColumnElement[bool]:
    """The condition that a row belongs to one of some units, and meets the others. SQLite reads the whole table for a
    condition on a tuple of columns, and uses the primary key for this one."""
    units: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for study_id, layer, unit in keys:
        units[study_id, layer].append(unit)
    return or_(
        false(),
        *(
            and_(table.study_id == study_id, table.layer == layer, table.unit.in_(of_layer), *also)
            for (study_id, layer), of_layer in units.items()
        ),
    )


def _is_member(session: Session, study_id: str, reader_id: str) -> bool:
    return session.get(MemberRow, (study_id, reader_id)) is not None


def _reads_with(session: Session, reader_id: str | None) -> ColumnElement[bool]:
    """The condition that a reader sees one of the studies that another reader sees; that of all if it is None."""
    if reader_id is None or session.scalar(select(exists().where(~StudyRow.members_only))):
        return true()
    theirs, own = aliased(MemberRow), aliased(MemberRow)
    shared = exists().where(
        theirs.reader_id == ReaderRow.reader_id, own.study_id == theirs.study_id, own.reader_id == reader_id
    )
    return or_(ReaderRow.reader_id == reader_id, shared)
