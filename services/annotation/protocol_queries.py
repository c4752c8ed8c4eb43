"""The database queries of protocols and readings. None runs one query per reading."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, literal, or_, select, union_all
from sqlalchemy.orm import Session, aliased

from services.annotation.tables import (
    ItemRow,
    ProtocolReaderRow,
    ProtocolRow,
    RankRow,
    ReaderRow,
    ReadingLogRow,
    ReadingRow,
    UnitRow,
)
from services.common.errors import NotFound
from services.common.redaction import quoted

ProtocolKey = tuple[str, int]
"""Study and version."""
Counts = tuple[int, int, int]
"""Readings, answered ones and skipped ones."""
TO_DO = ("waiting", "shown")


def protocol_row(session: Session, key: ProtocolKey, lock: bool = False) -> ProtocolRow:
    """The row of a version of a protocol. NotFound if it does not exist."""
    row = session.get(ProtocolRow, key, with_for_update=lock or None) if key[1] < 2**31 else None
    if row is None:
        raise NotFound(f"study {quoted(key[0])} has no protocol of version {key[1]}")
    return row


def protocol_rows(session: Session, study_id: str) -> Sequence[ProtocolRow]:
    """The versions of a study's protocol, newest first."""
    query = select(ProtocolRow).where(ProtocolRow.study_id == study_id)
    return session.scalars(query.order_by(ProtocolRow.version.desc())).all()


def newest_version(session: Session, study_id: str) -> int:
    """The newest version of a study's protocol; 0 if it has none."""
    return session.scalar(select(func.max(ProtocolRow.version)).where(ProtocolRow.study_id == study_id)) or 0


def protocols_of_reader(session: Session, reader_id: str) -> list[tuple[ProtocolRow, ProtocolReaderRow]]:
    """The protocols that a reader reads, newest first."""
    same = and_(ProtocolReaderRow.study_id == ProtocolRow.study_id, ProtocolReaderRow.version == ProtocolRow.version)
    query = select(ProtocolRow, ProtocolReaderRow).join(ProtocolReaderRow, same)
    query = query.where(ProtocolReaderRow.reader_id == reader_id)
    return [(*row,) for row in session.execute(query.order_by(ProtocolRow.opened.desc(), ProtocolRow.study_id))]


def protocol_readers(session: Session, key: ProtocolKey) -> list[tuple[ProtocolReaderRow, str]]:
    """The readers of a protocol by pseudonym, each with the name."""
    query = select(ProtocolReaderRow, ReaderRow.name).join(
        ReaderRow, ReaderRow.reader_id == ProtocolReaderRow.reader_id
    )
    query = query.where(ProtocolReaderRow.study_id == key[0], ProtocolReaderRow.version == key[1])
    return [(*row,) for row in session.execute(query.order_by(ProtocolReaderRow.pseudonym))]


def counts_by_reader(
    session: Session, keys: Collection[ProtocolKey], reader_id: str = ""
) -> dict[tuple[str, int, str], Counts]:
    """The numbers of readings by study, version and reader; of one reader if `reader_id` is given."""
    columns = (ReadingRow.study_id, ReadingRow.version, ReadingRow.reader_id)
    query = select(*columns, func.count(), _count_state("answered"), _count_state("skipped")).group_by(*columns)
    query = query.where(or_(*(is_of(ReadingRow, key) for key in keys)))
    if reader_id:
        query = query.where(ReadingRow.reader_id == reader_id)
    return {
        (study, version, reader): (readings, answered, skipped)
        for study, version, reader, readings, answered, skipped in session.execute(query)
    }


def readings_of(
    session: Session, key: ProtocolKey, reader_id: str, positions: range | None = None
) -> list[tuple[str, int, str]]:
    """Id, position and state of a reader's readings, by position; only those at some positions if they are given."""
    columns = (ReadingRow.reading_id, ReadingRow.position, ReadingRow.state)
    query = select(*columns).where(is_of(ReadingRow, key), ReadingRow.reader_id == reader_id)
    if positions is not None:
        query = query.where(ReadingRow.position.between(positions.start, positions.stop - 1))
    return [(*row,) for row in session.execute(query.order_by(ReadingRow.position))]


def next_reading(session: Session, key: ProtocolKey, reader_id: str, after: int = 0) -> str | None:
    """The reading that a reader does next: the first one to do after a position, else the first one to do at all, else
    the first one that was skipped.

    Each part finds one row in an index, so that the time does not depend on the length of the list.
    """
    parts = [(0, state, after) for state in TO_DO] + [(1, state, 0) for state in TO_DO] + [(2, "skipped", 0)]
    found = union_all(*(_first_in_state(key, reader_id, *part) for part in parts)).subquery().c
    return session.scalar(select(found.reading_id).order_by(found.choice, found.position).limit(1))


def _first_in_state(
    key: ProtocolKey, reader_id: str, choice: int, state: str, after: int
) -> Select[tuple[str, int, int]]:
    """The first reading in a state after a position, with a number by which `next_reading` chooses."""
    columns = (ReadingRow.reading_id, ReadingRow.position, literal(choice).label("choice"))
    own = (is_of(ReadingRow, key), ReadingRow.reader_id == reader_id)
    query = select(*columns).where(*own, ReadingRow.state == state, ReadingRow.position > after)
    first = query.order_by(ReadingRow.position).limit(1).subquery().c  # SQLite takes no limit inside a union
    return select(first.reading_id, first.position, first.choice)


def around(session: Session, row: ReadingRow) -> tuple[str | None, str | None]:
    """The readings before and after one in its reader's list."""
    own = (is_of(ReadingRow, (row.study_id, row.version)), ReadingRow.reader_id == row.reader_id)
    query = select(ReadingRow.reading_id).where(*own)
    before = query.where(ReadingRow.position < row.position).order_by(ReadingRow.position.desc()).limit(1)
    after = query.where(ReadingRow.position > row.position).order_by(ReadingRow.position).limit(1)
    return session.scalar(before), session.scalar(after)


def own_reading(session: Session, reading_id: str, reader_id: str, lock: bool = False) -> ReadingRow:
    """The row of a reading. NotFound is the same for one that does not exist and for one of another reader."""
    row = session.get(ReadingRow, reading_id, with_for_update=lock or None)
    if row is None or row.reader_id != reader_id:
        raise NotFound(f"you have no reading {quoted(reading_id)}")
    return row


def unanswered_of_item(session: Session, row: ReadingRow) -> bool:
    """Whether the reader has a reading of the same item, or of the other part of its unit, that is not answered yet."""
    item = session.get_one(ItemRow, (row.study_id, row.version, row.item))
    numbers = [item.item]
    if item.part is not None:
        numbers.append(item.item + 1 if item.part == 1 else item.item - 1)
    return bool(
        session.scalar(
            select(
                exists().where(
                    is_of(ReadingRow, (row.study_id, row.version)),
                    ReadingRow.item.in_(numbers),
                    ReadingRow.reader_id == row.reader_id,
                    ReadingRow.state != "answered",
                )
            )
        )
    )


def unanswered_at_all(session: Session, row: ReadingRow) -> bool:
    """Whether the reader has a reading of the protocol that is not answered yet."""
    own = (is_of(ReadingRow, (row.study_id, row.version)), ReadingRow.reader_id == row.reader_id)
    return bool(session.scalar(select(exists().where(*own, ReadingRow.state != "answered"))))


def lapsed_reading(session: Session, key: ProtocolKey, reader_id: str, active_before: datetime) -> ReadingRow | None:
    """A locked reading of a reader who was last active before a time, of an item that `reader_id` does not read; None
    if there is none. Readings that another process locks are left out."""
    own = aliased(ReadingRow)
    lapsed = select(ProtocolReaderRow.reader_id).where(
        is_of(ProtocolReaderRow, key),
        ProtocolReaderRow.active < active_before,
        ProtocolReaderRow.reader_id != reader_id,
    )
    has_item = exists().where(is_of(own, key), own.item == ReadingRow.item, own.reader_id == reader_id)
    query = select(ReadingRow).where(
        is_of(ReadingRow, key),
        ReadingRow.state != "answered",
        ~ReadingRow.is_repeat,
        ReadingRow.reader_id.in_(lapsed),
        ~has_item,
    )
    return session.scalars(
        query.order_by(ReadingRow.item).limit(1).with_for_update(skip_locked=True, of=ReadingRow)
    ).first()


def last_position(session: Session, key: ProtocolKey, reader_id: str) -> int:
    """The last position of a reader's list; 0 if it is empty."""
    query = select(func.max(ReadingRow.position)).where(is_of(ReadingRow, key), ReadingRow.reader_id == reader_id)
    return session.scalar(query) or 0


def logged(session: Session, reading_id: str, idempotency_key: str) -> ReadingLogRow | None:
    """The log entry that was saved with an idempotency key."""
    query = select(ReadingLogRow).where(
        ReadingLogRow.reading_id == reading_id, ReadingLogRow.idempotency_key == idempotency_key
    )
    return session.scalars(query.order_by(ReadingLogRow.position.desc()).limit(1)).first()


def was_taken(session: Session, reading_id: str, reader_id: str) -> bool:
    """Whether a reading was taken over from a reader."""
    query = exists().where(
        ReadingLogRow.reading_id == reading_id, ReadingLogRow.reader_id == reader_id, ReadingLogRow.kind == "taken"
    )
    return bool(session.scalar(select(query)))


def readable_units(session: Session, study_id: str) -> Sequence[UnitRow]:
    """The units of a study that are not silent, by layer and number."""
    query = select(UnitRow).where(UnitRow.study_id == study_id, ~UnitRow.silent)
    return session.scalars(query.order_by(UnitRow.layer, UnitRow.unit)).all()


def top_ranked(session: Session, study_id: str, label: int, top: int) -> set[tuple[str, int]]:
    """Layer and channel of the first units, silent ones left out, of each layer's ranking of a class."""
    of_unit = and_(
        UnitRow.study_id == RankRow.study_id,
        UnitRow.layer == RankRow.layer,
        UnitRow.unit == RankRow.unit,
        ~UnitRow.silent,
    )
    position = func.row_number().over(partition_by=RankRow.layer, order_by=RankRow.rank).label("position")
    ranked = select(RankRow.layer, RankRow.unit, position).join(UnitRow, of_unit)
    rows = ranked.where(RankRow.study_id == study_id, RankRow.label == label).subquery().c
    return {(*row,) for row in session.execute(select(rows.layer, rows.unit).where(rows.position <= top))}


class ItemCounts(NamedTuple):
    """The numbers of units, of those that are read in two parts, and of shams."""

    units: int
    split: int
    shams: int


def item_counts(session: Session, key: ProtocolKey) -> ItemCounts:
    """The numbers of units and shams of a protocol."""
    query = select(ItemRow.kind, ItemRow.part, func.count()).where(is_of(ItemRow, key))
    counts = {(kind, part): count for kind, part, count in session.execute(query.group_by(ItemRow.kind, ItemRow.part))}
    split = counts.get(("unit", 2), 0)
    return ItemCounts(counts.get(("unit", None), 0) + split, split, counts.get(("sham", None), 0))


def is_of(table: type[ReadingRow] | type[ItemRow] | type[ProtocolReaderRow], key: ProtocolKey) -> ColumnElement[bool]:
    """The condition that a row belongs to a version of a protocol."""
    return and_(table.study_id == key[0], table.version == key[1])


def _count_state(state: str) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((ReadingRow.state == state, 1), else_=0)), 0)
