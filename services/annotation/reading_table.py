"""All answers of a protocol as a table: one row a reading, with the item, the reader's pseudonym and the times.

Results and exports are computed from it. It names units, so it is for the owners of studies.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, select
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


def read_readings(session: Session, key: ProtocolKey) -> Iterator[Reading]:
    """Read the table by pseudonym and position. Few rows are in memory at one time."""
    of_item = and_(
        ItemRow.study_id == ReadingRow.study_id, ItemRow.version == ReadingRow.version, ItemRow.item == ReadingRow.item
    )
    of_reader = and_(
        ProtocolReaderRow.study_id == ReadingRow.study_id,
        ProtocolReaderRow.version == ReadingRow.version,
        ProtocolReaderRow.reader_id == ReadingRow.reader_id,
    )
    query = (
        select(
            *(ReadingRow.position, ReadingRow.item, ItemRow.kind, ItemRow.layer, ItemRow.unit),
            *(ProtocolReaderRow.pseudonym, ReadingRow.is_repeat, ReadingRow.state, ReadingRow.answer),
            *(ReadingRow.second_answer, ReadingRow.answer_version, ReadingRow.shown, ReadingRow.submitted),
            *(ReadingRow.revealed, ReadingRow.first_action_s, ReadingRow.active_s),
        )
        .join(ItemRow, of_item)
        .join(ProtocolReaderRow, of_reader)
        .where(is_of(ReadingRow, key))
        .order_by(ProtocolReaderRow.pseudonym, ReadingRow.position)
        .execution_options(yield_per=ROWS_AT_ONCE)
    )
    for row in session.execute(query):
        answer = row.answer or {}
        second = row.second_answer or {}
        yield Reading(
            position=row.position,
            item=row.item,
            kind=row.kind,
            layer=row.layer,
            unit=row.unit,
            reader=row.pseudonym,
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
        )
