"""The database queries of games and trials. None runs one query per trial."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, case, exists, func, select
from sqlalchemy.orm import Session

from services.annotation.protocol_queries import ProtocolKey
from services.annotation.tables import (
    GameReaderRow,
    GameRow,
    ItemRow,
    ProtocolRow,
    ReaderRow,
    ReadingRow,
    ResponseRow,
    TrialRow,
    UnitRow,
)
from services.common.errors import NotFound
from services.common.redaction import quoted

UnitPlace = tuple[str, int]
"""Layer and channel."""
ROWS_AT_ONCE = 2000


class TrialCounts(NamedTuple):
    """The trials of a reader of a game. `unanswered` were opened; the last of them was opened at `last_opened`."""

    trials: int
    answered: int
    late: int
    unanswered: int
    last_opened: datetime | None


NO_TRIALS = TrialCounts(0, 0, 0, 0, None)


def game_row(session: Session, game_id: str, lock: bool = False) -> GameRow:
    """The row of a game. NotFound if it does not exist."""
    row = session.get(GameRow, game_id, with_for_update=lock or None)
    if row is None:
        raise NotFound(f"there is no game {quoted(game_id)}")
    return row


def game_of_study(session: Session, study_id: str, game_id: str, lock: bool = False) -> GameRow:
    """The row of a game of a study. NotFound is the same for one of another study."""
    row = session.get(GameRow, game_id, with_for_update=lock or None)
    if row is None or row.study_id != study_id:
        raise NotFound(f"study {quoted(study_id)} has no game {quoted(game_id)}")
    return row


def games_of_study(session: Session, study_id: str) -> Sequence[GameRow]:
    """The games of a study, newest first."""
    query = select(GameRow).where(GameRow.study_id == study_id)
    return session.scalars(query.order_by(GameRow.opened.desc(), GameRow.game_id)).all()


def games_of_reader(session: Session, reader_id: str) -> list[tuple[GameRow, GameReaderRow]]:
    """The games of a reader, newest first."""
    query = select(GameRow, GameReaderRow).join(GameReaderRow, GameReaderRow.game_id == GameRow.game_id)
    query = query.where(GameReaderRow.reader_id == reader_id)
    return [(*row,) for row in session.execute(query.order_by(GameRow.opened.desc(), GameRow.game_id))]


def game_readers(session: Session, game_ids: Collection[str]) -> list[tuple[GameReaderRow, str]]:
    """The readers of some games by pseudonym, each with the name."""
    query = select(GameReaderRow, ReaderRow.name).join(ReaderRow, ReaderRow.reader_id == GameReaderRow.reader_id)
    query = query.where(GameReaderRow.game_id.in_(game_ids))
    return [(*row,) for row in session.execute(query.order_by(GameReaderRow.game_id, GameReaderRow.pseudonym))]


def membership(session: Session, game_id: str, reader_id: str, lock: bool = False) -> tuple[GameRow, GameReaderRow]:
    """A game with the row of its reader. NotFound is the same for a game that does not exist."""
    member = session.get(GameReaderRow, (game_id, reader_id), with_for_update=lock or None)
    if member is None:
        raise NotFound(f"you have no game {quoted(game_id)}")
    return game_row(session, game_id), member


def trial_counts(
    session: Session, game_ids: Collection[str], reader_id: str = ""
) -> dict[tuple[str, str], TrialCounts]:
    """The numbers of trials by game and reader; of one reader if `reader_id` is given."""
    is_unanswered = and_(TrialRow.opened.is_not(None), TrialRow.choice.is_(None))
    columns = (TrialRow.game_id, TrialRow.reader_id)
    query = select(
        *columns,
        func.count(),
        func.sum(case((and_(TrialRow.choice.is_not(None), ~TrialRow.late), 1), else_=0)),
        func.sum(case((TrialRow.late, 1), else_=0)),
        func.sum(case((is_unanswered, 1), else_=0)),
        func.max(case((is_unanswered, TrialRow.opened))),
    )
    query = query.where(TrialRow.game_id.in_(game_ids)).group_by(*columns)
    if reader_id:
        query = query.where(TrialRow.reader_id == reader_id)
    return {(game, reader): TrialCounts(*counts) for game, reader, *counts in session.execute(query)}


def own_trial(session: Session, trial_id: str, reader_id: str, lock: bool = False) -> TrialRow:
    """The row of a trial. NotFound is the same for one that does not exist and for one of another reader."""
    row = session.get(TrialRow, trial_id, with_for_update=lock or None)
    if row is None or row.reader_id != reader_id:
        raise NotFound(f"you have no trial {quoted(trial_id)}")
    return row


def last_opened(session: Session, game_id: str, reader_id: str) -> TrialRow | None:
    """The trial that a reader has opened last."""
    query = select(TrialRow).where(_is_of(game_id, reader_id), TrialRow.opened.is_not(None))
    return session.scalars(query.order_by(TrialRow.position.desc()).limit(1)).first()


def next_waiting(session: Session, game_id: str, reader_id: str) -> TrialRow | None:
    """The trial that a reader opens next."""
    query = select(TrialRow).where(_is_of(game_id, reader_id), TrialRow.opened.is_(None))
    return session.scalars(query.order_by(TrialRow.position).limit(1)).first()


def trials_of_game(session: Session, game_id: str) -> Iterator[tuple[TrialRow, str]]:
    """All trials of a game with the pseudonyms of their readers, by pseudonym and position."""
    same = and_(GameReaderRow.game_id == TrialRow.game_id, GameReaderRow.reader_id == TrialRow.reader_id)
    query = select(TrialRow, GameReaderRow.pseudonym).join(GameReaderRow, same).where(TrialRow.game_id == game_id)
    query = query.order_by(GameReaderRow.pseudonym, TrialRow.position).execution_options(yield_per=ROWS_AT_ONCE)
    for row in session.execute(query):
        yield (*row,)


def reads_protocol(session: Session, study_id: str, reader_id: str) -> bool:
    """Whether a reader still has readings to answer under an open version of a study's protocol."""
    same = and_(ProtocolRow.study_id == ReadingRow.study_id, ProtocolRow.version == ReadingRow.version)
    unanswered = exists().where(
        ReadingRow.study_id == study_id,
        ReadingRow.reader_id == reader_id,
        ReadingRow.state != "answered",
        same,
        ProtocolRow.closed.is_(None),
    )
    return bool(session.scalar(select(unanswered)))


def protocol_units(session: Session, key: ProtocolKey) -> list[UnitPlace]:
    """The units of a version of a protocol, by layer and channel."""
    query = select(ItemRow.layer, ItemRow.unit).where(
        ItemRow.study_id == key[0], ItemRow.version == key[1], ItemRow.kind == "unit"
    )
    found = session.execute(query.order_by(ItemRow.layer, ItemRow.unit))
    return [(layer, unit) for layer, unit in found if unit is not None]


def channels(session: Session, study_id: str, layer: str) -> list[int]:
    """The channels of the units of a layer that are not silent, ascending."""
    query = select(UnitRow.unit).where(UnitRow.study_id == study_id, UnitRow.layer == layer, ~UnitRow.silent)
    return list(session.scalars(query.order_by(UnitRow.unit)))


def read_units(session: Session, study_id: str, reader_ids: Collection[str]) -> dict[str, set[UnitPlace]]:
    """By reader, the units that the reader has answered: under any version of the protocol, or in the lists."""
    same = and_(
        ItemRow.study_id == ReadingRow.study_id, ItemRow.version == ReadingRow.version, ItemRow.item == ReadingRow.item
    )
    answered = (
        select(ReadingRow.reader_id, ItemRow.layer, ItemRow.unit)
        .join(ItemRow, same)
        .where(ReadingRow.study_id == study_id, ReadingRow.state == "answered", ItemRow.kind == "unit")
    )
    listed = select(ResponseRow.reader_id, ResponseRow.layer, ResponseRow.unit).where(ResponseRow.study_id == study_id)
    found: dict[str, set[UnitPlace]] = {reader_id: set() for reader_id in reader_ids}
    for query, column in ((answered, ReadingRow.reader_id), (listed, ResponseRow.reader_id)):
        for reader_id, layer, unit in session.execute(query.where(column.in_(reader_ids))):
            if unit is not None:
                found[reader_id].add((layer, unit))
    return found


def _is_of(game_id: str, reader_id: str) -> ColumnElement[bool]:
    return and_(TrialRow.game_id == game_id, TrialRow.reader_id == reader_id)
