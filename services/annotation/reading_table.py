"""All answers of a protocol as a table: one row a reading, with the item, the reader's pseudonym and the times.

Results and exports are computed from it. It names units, so it is for the owners of studies.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from services.annotation.protocol.questionnaire import FormAnswer
from services.annotation.protocol_queries import ProtocolKey, is_of
from services.annotation.tables import ItemRow, ProtocolReaderRow, ReadingRow

ROWS_AT_ONCE = 2000


@dataclass(frozen=True)
class Reading:
    """A row of the table. A sham has no unit. `answer` is None before the reader has answered."""

    position: int
    item: int
    kind: str
    layer: str
    unit: int | None
    reader: str
    """The pseudonym."""
    is_repeat: bool
    state: str
    answer: FormAnswer | None
    misfits: tuple[int, ...]
    second_answer: FormAnswer | None
    answer_version: int
    shown: datetime | None
    submitted: datetime | None
    revealed: datetime | None
    first_action_s: float | None
    active_s: float | None
    second_misfits: tuple[int, ...] = ()
    part: int | None = None
    """1 or 2 if the unit is read in two parts."""


def read_readings(session: Session, key: ProtocolKey) -> Iterator[Reading]:
    """Read the table by pseudonym and position. Few readings are in memory at one time, and the items of the protocol.

    The readings of each reader are read in the order of an index. A join with the items needs no more queries, but
    PostgreSQL may take minutes for it until it has statistics about the rows of a new protocol.
    """
    items = {number: (kind, layer, unit, part) for number, kind, layer, unit, part in session.execute(_items(key))}
    columns = (
        *(ReadingRow.position, ReadingRow.item, ReadingRow.is_repeat, ReadingRow.state, ReadingRow.answer),
        *(ReadingRow.second_answer, ReadingRow.answer_version, ReadingRow.shown, ReadingRow.submitted),
        *(ReadingRow.revealed, ReadingRow.first_action_s, ReadingRow.active_s),
    )
    query = select(*columns).order_by(ReadingRow.position).execution_options(yield_per=ROWS_AT_ONCE)
    for reader_id, pseudonym in session.execute(_readers(key)).all():
        for row in session.execute(query.where(is_of(ReadingRow, key), ReadingRow.reader_id == reader_id)):
            answer = row.answer or {}
            second = row.second_answer or {}
            kind, layer, unit, part = items[row.item]
            yield Reading(
                position=row.position,
                item=row.item,
                kind=kind,
                layer=layer,
                unit=unit,
                reader=pseudonym,
                is_repeat=row.is_repeat,
                state=row.state,
                answer=answer.get("answers"),
                misfits=tuple(answer.get("misfits", ())),
                second_answer=second.get("answers"),
                answer_version=row.answer_version,
                shown=row.shown,
                submitted=row.submitted,
                revealed=row.revealed,
                first_action_s=row.first_action_s,
                active_s=row.active_s,
                second_misfits=tuple(second.get("misfits", ())),
                part=part,
            )


def _items(key: ProtocolKey) -> Select[int, str, str, int | None, int | None]:
    return select(ItemRow.item, ItemRow.kind, ItemRow.layer, ItemRow.unit, ItemRow.part).where(is_of(ItemRow, key))


def _readers(key: ProtocolKey) -> Select[str, str]:
    query = select(ProtocolReaderRow.reader_id, ProtocolReaderRow.pseudonym).where(is_of(ProtocolReaderRow, key))
    return query.order_by(ProtocolReaderRow.pseudonym)
