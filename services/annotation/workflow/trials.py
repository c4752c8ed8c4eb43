"""What readers do in a game: they open one trial after the other, and answer each once, in time or late."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from services.annotation import game_queries as queries
from services.annotation import repository
from services.annotation.audit_chain import chain_answer
from services.annotation.game_queries import NO_TRIALS, TrialCounts
from services.annotation.game_schemas import NextTrial, OwnGame, OwnGames, TrialView
from services.annotation.games.document import GameKind
from services.annotation.games.draw import SHAPES
from services.annotation.games.scores import TrialState
from services.annotation.picture import decode_pictures
from services.annotation.tables import GameRow, TrialLogRow, TrialRow
from services.annotation.workflow.items import picture_of
from services.annotation.workflow.readers import Reader
from services.common.errors import Conflict, InvalidInput, NotFound
from services.common.records import now
from services.common.redaction import quoted
from services.common.work.ports import Ports

GRACE = timedelta(seconds=1)
"""An answer is in time if it arrives so long after the time of its trial: it takes a moment to be sent."""


@dataclass
class Trials:
    """The use cases of readers in games. A trial of another reader does not exist for them.

    The time of a trial begins when the service opens it, and the service's clock alone decides what is late.
    """

    ports: Ports
    clock: Callable[[], datetime] = field(default=now)

    def games(self, reader: Reader) -> OwnGames:
        """The games of a reader, newest first."""
        with self.ports.records.reading() as session:
            rows = [row for row, _ in queries.games_of_reader(session, reader.reader_id)]
            counts = queries.trial_counts(session, [row.game_id for row in rows], reader.reader_id)
        at = self.clock()
        return OwnGames(
            games=[_own_game(row, counts.get((row.game_id, reader.reader_id), NO_TRIALS), at) for row in rows]
        )

    def game(self, reader: Reader, game_id: str) -> OwnGame:
        """A game of the reader."""
        with self.ports.records.reading() as session:
            row, _ = queries.membership(session, game_id, reader.reader_id)
            counts = queries.trial_counts(session, [game_id], reader.reader_id)
        return _own_game(row, counts.get((game_id, reader.reader_id), NO_TRIALS), self.clock())

    def next(self, reader: Reader, game_id: str) -> NextTrial:
        """Return the trial whose time runs, or else open the next one. A trial is opened once, so its time never begins
        again.

        Conflict if the game is closed, or if the reader has still to read under the study's protocol: the trials show
        which patches belong together.
        """
        with self.ports.records.transaction() as session:
            game, _ = queries.membership(session, game_id, reader.reader_id, lock=True)
            _check_open(game)
            at = self.clock()
            row = queries.last_opened(session, game_id, reader.reader_id)
            if row is None or not _runs(game, row, at):
                row = self._open_next(session, game, reader, at)
            return NextTrial(trial=_trial_view(session, game, row, at) if row is not None else None)

    def get(self, reader: Reader, trial_id: str) -> TrialView:
        """A trial that the reader has opened. NotFound for any other."""
        with self.ports.records.reading() as session:
            row = queries.own_trial(session, trial_id, reader.reader_id)
            _check_opened(row)
            return _trial_view(session, queries.game_row(session, row.game_id), row, self.clock())

    def answer(self, reader: Reader, trial_id: str, choice: int) -> TrialView:
        """Save and commit an answer. The same answer again changes nothing; Conflict if it is another one, or if the
        game is closed. A late answer is saved as late."""
        with self.ports.records.transaction() as session:
            row = queries.own_trial(session, trial_id, reader.reader_id, lock=True)
            _check_opened(row)
            game, at = queries.game_row(session, row.game_id), self.clock()
            if not 1 <= choice <= len(row.shown):
                raise InvalidInput(f"this trial has no patch {choice}; it has {len(row.shown)}")
            if row.choice is None:
                _check_open(game)
                row.choice, row.answered = choice, at
                row.late = time_is_over(game, row.opened, at)
                _log(session, row, "late" if row.late else "answer", at)
            elif row.choice != choice:
                raise Conflict(f"you have answered this trial already: patch {row.choice}. An answer cannot be changed")
            return _trial_view(session, game, row, at)

    def picture(self, reader: Reader, trial_id: str, number: int) -> bytes:
        """The picture of a patch; numbers count from 1. Those of the next trial can be fetched while the time of the
        one before it runs, so that they are there when it opens."""
        with self.ports.records.reading() as session:
            row = queries.own_trial(session, trial_id, reader.reader_id)
            if row.opened is None and not self._may_prefetch(session, row):
                raise _not_open(row)
            if not 1 <= number <= len(row.shown):
                raise NotFound(f"this trial has no patch {number}; it has {len(row.shown)}")
            unit, rank = row.shown[number - 1]
            game = queries.game_row(session, row.game_id)
            found = repository.unit_row(session, (game.study_id, row.layer, unit))
        return picture_of(self.ports.blobs, [(found, decode_pictures(found.pictures)[rank - 1])], 1)

    def _open_next(self, session: Session, game: GameRow, reader: Reader, at: datetime) -> TrialRow | None:
        if queries.reads_protocol(session, game.study_id, reader.reader_id):
            raise Conflict("Please answer your reading list of this study first: the game shows parts of it.")
        row = queries.next_waiting(session, game.game_id, reader.reader_id)
        if row is not None:
            row.opened = at
            _log(session, row, "opened", at)
        return row

    def _may_prefetch(self, session: Session, row: TrialRow) -> bool:
        """Whether a trial is the next one, and the time of the one before it runs."""
        before = queries.last_opened(session, row.game_id, row.reader_id)
        if before is None or before.position + 1 != row.position:
            return False
        return _runs(queries.game_row(session, row.game_id), before, self.clock())


def time_is_over(game: GameRow, opened: datetime | None, at: datetime) -> bool:
    """Whether an answer at a time is late in a trial that was opened at another."""
    return opened is not None and at > opened + timedelta(seconds=game.seconds) + GRACE


def state_of(game: GameRow, row: TrialRow, at: datetime) -> TrialState:
    """The state of a trial at a time. When the game closes, a trial that is still open has been missed."""
    if row.choice is not None:
        return "late" if row.late else "answered"
    if row.opened is None:
        return "waiting"
    return "missed" if game.closed is not None or time_is_over(game, row.opened, at) else "shown"


def _runs(game: GameRow, row: TrialRow, at: datetime) -> bool:
    """Whether the reader has time left for an opened trial, and has not answered it."""
    return row.choice is None and row.opened is not None and at <= row.opened + timedelta(seconds=game.seconds)


def kind_of(game: GameRow) -> GameKind:
    """The kind of a game."""
    return "intruder" if game.kind == "intruder" else "prediction"


def _check_open(game: GameRow) -> None:
    if game.closed is not None:
        raise Conflict(f"The game closed at {game.closed.isoformat(timespec='minutes')}. Nothing was saved.")


def _check_opened(row: TrialRow) -> None:
    if row.opened is None:
        raise _not_open(row)


def _not_open(row: TrialRow) -> NotFound:
    return NotFound(f"trial {quoted(row.trial_id)} is not open; the game opens its trials in their order")


def _log(session: Session, row: TrialRow, kind: str, at: datetime) -> None:
    entry = TrialLogRow(trial_id=row.trial_id, reader_id=row.reader_id, kind=kind, choice=row.choice, saved=at)
    session.add(entry)
    chain_answer(session, entry)


def _own_game(row: GameRow, counts: TrialCounts, at: datetime) -> OwnGame:
    kind = kind_of(row)
    options = SHAPES[kind].options
    last = counts.last_opened
    running = row.closed is None and last is not None and not time_is_over(row, last, at)
    played = counts.answered + counts.late + counts.unanswered - running
    return OwnGame(
        game_id=row.game_id,
        study_id=row.study_id,
        kind=kind,
        title=row.title,
        instructions=row.instructions,
        state="open" if row.closed is None else "closed",
        options=options,
        chance=1 / options,
        seconds=row.seconds,
        trials=counts.trials,
        played=played,
        has_next=row.closed is None and played < counts.trials,
    )


def _trial_view(session: Session, game: GameRow, row: TrialRow, at: datetime) -> TrialView:
    state = state_of(game, row, at)
    assert state != "waiting"
    assert row.opened is not None
    following = queries.next_waiting(session, game.game_id, row.reader_id)
    counts = queries.trial_counts(session, [game.game_id], row.reader_id)[game.game_id, row.reader_id]
    left = row.opened + timedelta(seconds=game.seconds) - at
    return TrialView(
        trial_id=row.trial_id,
        game_id=game.game_id,
        study_id=game.study_id,
        kind=kind_of(game),
        position=row.position,
        trials=counts.trials,
        options=len(row.shown),
        description=row.description,
        state=state,
        seconds=game.seconds,
        remaining_s=max(0.0, left.total_seconds()) if state == "shown" else 0.0,
        choice=row.choice,
        next=following.trial_id if following is not None and game.closed is None else None,
    )
