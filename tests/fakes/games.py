"""A study with a closed protocol and a game about its units, for tests."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from services.annotation.game_schemas import GameDetails, OpenGameRequest, TrialView
from services.annotation.tables import ReadingRow, TrialLogRow, TrialRow
from services.annotation.workflow.game_results import GameScores
from services.annotation.workflow.games import Games
from services.annotation.workflow.readers import Reader
from services.annotation.workflow.trials import Trials
from services.common.records import now
from tests.fakes.annotation import Annotation
from tests.fakes.reading import FORM, ReaderStudy

SECONDS = 20.0
PHENOMENA = ("margin-spiculated", "mass-oval", "mass-irregular", "margin-obscured")


def game_request(readers: list[str], **document: Any) -> OpenGameRequest:
    """The request to open an intruder game of all units of the protocol, with changes to its document."""
    fields = {"kind": "intruder", "title": "Play", "seed": 1, "protocol": 1, "seconds": SECONDS} | document
    return OpenGameRequest.model_validate({"document": fields, "readers": readers})


class GameStudy:
    """A study whose protocol is closed, with a game. Its readers' clock can be moved."""

    def __init__(self, annotation: Annotation, readers: list[str], **protocol: Any) -> None:
        self.annotation = annotation
        self.study = ReaderStudy(annotation, readers, **({"patches": 8, "readers_per_unit": 2} | protocol))
        self.games, self.scores = Games(annotation.ports), GameScores(annotation.ports)
        self.clock_ahead = timedelta()
        self.trials = Trials(annotation.ports, self.clock)
        self.game: GameDetails | None = None

    def clock(self) -> datetime:
        """The time by which answers are late."""
        return now() + self.clock_ahead

    def describe(self) -> None:
        """Each reader answers everything: a unit has one of four phenomena, and the text of each reader."""
        for name in [reader.name or "" for reader in self.study.protocol.readers]:
            for reading_id in self.study.ids(name):
                with self.annotation.ports.records.reading() as session:
                    item = session.get_one(ReadingRow, reading_id).item
                phenomena = {"phenomena": [PHENOMENA[item % 4]], "description": f"{name} on {item}"}
                self.study.answer(name, reading_id, answers=FORM | phenomena)

    def close_protocol(self) -> None:
        """Close the protocol."""
        self.study.protocols.close(self.study.key)

    def open(self, readers: list[str], **document: Any) -> GameDetails:
        """Open a game."""
        self.game = self.games.open(self.annotation.study_id, game_request(readers, **document))
        return self.game

    @property
    def game_id(self) -> str:
        """The game that was opened last."""
        assert self.game is not None
        return self.game.game_id

    def reader(self, name: str) -> Reader:
        """A reader without other rights."""
        return self.annotation.readers.named(name)

    def next(self, name: str) -> TrialView:
        """Open the next trial of a reader."""
        trial = self.trials.next(self.reader(name), self.game_id).trial
        assert trial is not None
        return trial

    def row(self, trial_id: str) -> TrialRow:
        """The row of a trial."""
        with self.annotation.ports.records.reading() as session:
            return session.get_one(TrialRow, trial_id)

    def rows(self, name: str = "") -> list[TrialRow]:
        """The rows of the game's trials, of all readers or of one, by reader and position."""
        query = select(TrialRow).where(TrialRow.game_id == self.game_id)
        if name:
            query = query.where(TrialRow.reader_id == self.reader(name).reader_id)
        with self.annotation.ports.records.reading() as session:
            return list(session.scalars(query.order_by(TrialRow.reader_id, TrialRow.position)))

    def answer(self, name: str, trial: TrialView, right: bool = True) -> TrialView:
        """Answer a trial of a reader, rightly or wrongly."""
        place = self.row(trial.trial_id).right_place
        return self.trials.answer(self.reader(name), trial.trial_id, place if right else place % trial.options + 1)

    def log(self, trial_id: str) -> list[tuple[str, int | None]]:
        """Kind and choice of the log entries of a trial."""
        query = select(TrialLogRow).where(TrialLogRow.trial_id == trial_id).order_by(TrialLogRow.position)
        with self.annotation.ports.records.reading() as session:
            return [(row.kind, row.choice) for row in session.scalars(query)]
