"""Opens and closes the games of a study, for its owner."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from services.annotation import game_queries as queries
from services.annotation import repository
from services.annotation.game_queries import NO_TRIALS, TrialCounts
from services.annotation.game_schemas import GameDetails, GameList, GameProgress, GameView, OpenGameRequest
from services.annotation.games.document import FrozenGame, GameDocument, canonical, game_sha256
from services.annotation.games.draw import SHAPES, Draw, Trial
from services.annotation.protocol.document import ProtocolDocument
from services.annotation.protocol_queries import protocol_row
from services.annotation.tables import GameReaderRow, GameRow, ProtocolRow, StudyRow, TrialRow
from services.annotation.workflow.game_units import choose_items, layers_of
from services.annotation.workflow.protocols import distinct_names
from services.annotation.workflow.readers import Reader, Readers
from services.annotation.workflow.trials import time_is_over
from services.common.access.audit import Audit
from services.common.identity import new_id
from services.common.records import now
from services.common.work.ports import Ports

PlayedItem = tuple[int, Trial]


@dataclass(frozen=True)
class GameLayout:
    """Everything that follows from a document, a study and its readers."""

    game: FrozenGame
    trials: list[list[PlayedItem]]
    """By reader: the items and trials, in their order."""


@dataclass
class Games:
    """The use cases of games, for the owners of studies."""

    ports: Ports
    audit: Audit = field(default_factory=lambda: Audit("annotation"))

    def open(self, study_id: str, request: OpenGameRequest) -> GameDetails:
        """Open a game. Its units, readers and trials never change.

        InvalidInput if the document names what the study lacks, or if a unit has too few patches; Conflict if
        predict-the-unit is about a protocol that is still open.
        """
        names, named = distinct_names(request.readers), Readers(self.ports.records)
        known = [named.known(name) for name in names]
        with self.ports.records.reading() as session:
            study = repository.open_study(session, study_id, None)
            protocol = protocol_row(session, (study_id, request.document.protocol))
            layout = lay_out(session, study, protocol, _with_seed(request.document), known)
        readers = [named.named(name) for name in names]
        with self.ports.records.transaction() as session:
            row = _store(session, protocol, layout, readers)
            outcome = f"{row.game_id}, {row.kind}, sha256 {row.sha256}, {len(readers)} readers"
            self.audit.record("game_opened", study_id, outcome=outcome, session=session)
        return self.get(study_id, row.game_id)

    def close(self, study_id: str, game_id: str) -> GameDetails:
        """Close a game: nothing more can be answered, and its readers see the results. Closing again changes
        nothing."""
        with self.ports.records.transaction() as session:
            row = queries.game_of_study(session, study_id, game_id, lock=True)
            if row.closed is None:
                row.closed = now()
                self.audit.record("game_closed", study_id, outcome=game_id, session=session)
        return self.get(study_id, game_id)

    def get(self, study_id: str, game_id: str) -> GameDetails:
        """A game with the progress of its readers, and with everything that its hash covers."""
        with self.ports.records.reading() as session:
            row = queries.game_of_study(session, study_id, game_id)
            [view] = _views(session, [row])
        return GameDetails(**view.model_dump(), content=FrozenGame.model_validate_json(row.content))

    def all(self, study_id: str) -> GameList:
        """The games of a study, newest first."""
        with self.ports.records.reading() as session:
            repository.study_row(session, study_id)
            return GameList(games=_views(session, queries.games_of_study(session, study_id)))


def lay_out(
    session: Session, study: StudyRow, protocol: ProtocolRow, document: GameDocument, readers: Sequence[Reader]
) -> GameLayout:
    """Choose the units, find out who knows them, and draw the trials of each reader. The same errors as `open`."""
    units = choose_items(session, study, protocol, document)
    patches = ProtocolDocument.model_validate_json(protocol.document).patches
    game = FrozenGame(
        document=document,
        protocol_sha256=protocol.sha256,
        patches=patches,
        items=units.items,
        players=units.players(session, study.study_id, [reader.reader_id for reader in readers]),
        left_out=units.left_out,
    )
    layers = layers_of(session, study.study_id, units.items)
    trials = []
    for player in game.players:
        draw = Draw(document.kind, document.known_seed, player.pseudonym, patches)
        chosen = draw.items(player, len(units.items), document.trials)
        places = [(number, units.items[number]) for number in chosen]
        trials.append([(number, draw.trial(number, item.unit, layers[item.layer])) for number, item in places])
    return GameLayout(game, trials)


def _with_seed(document: GameDocument) -> GameDocument:
    seed = secrets.randbelow(2**53) if document.seed is None else document.seed  # exact in every language's numbers
    return document.model_copy(update={"seed": seed})


def _store(session: Session, protocol: ProtocolRow, layout: GameLayout, readers: Sequence[Reader]) -> GameRow:
    """Write a game with its readers and trials."""
    game = layout.game
    row = GameRow(
        game_id=new_id("game"),
        study_id=protocol.study_id,
        version=protocol.version,
        kind=game.document.kind,
        title=game.document.title,
        instructions=game.document.instructions,
        sha256=game_sha256(game),
        content=canonical(game),
        seconds=game.document.seconds,
    )
    session.add(row)
    session.flush()
    for reader, player, trials in zip(readers, game.players, layout.trials, strict=True):
        session.add(GameReaderRow(game_id=row.game_id, reader_id=reader.reader_id, pseudonym=player.pseudonym))
        own = {"game_id": row.game_id, "reader_id": reader.reader_id, "late": False}
        known = set(player.known)
        rows = [
            own | {"position": position, "known": number in known} | _columns(game, number, trial)
            for position, (number, trial) in enumerate(trials, 1)
        ]
        session.execute(insert(TrialRow), rows)
    return row


def _columns(game: FrozenGame, number: int, trial: Trial) -> dict[str, Any]:
    item = game.items[number]
    return {
        "trial_id": f"trial-{secrets.token_hex(10)}",
        "item": number,
        "layer": item.layer,
        "unit": item.unit,
        "description": item.description,
        "shown": [list(shown) for shown in trial.shown],
        "right_place": trial.right,
    }


def _views(session: Session, rows: Sequence[GameRow]) -> list[GameView]:
    ids = [row.game_id for row in rows]
    counts, at = queries.trial_counts(session, ids), now()
    readers: dict[str, list[tuple[GameReaderRow, str]]] = {game_id: [] for game_id in ids}
    for reader, name in queries.game_readers(session, ids):
        readers[reader.game_id].append((reader, name))
    return [_view(row, [_progress(row, of_game, counts, at) for of_game in readers[row.game_id]]) for row in rows]


def _view(row: GameRow, readers: list[GameProgress]) -> GameView:
    game = FrozenGame.model_validate_json(row.content)
    shape = SHAPES[game.document.kind]
    return GameView(
        game_id=row.game_id,
        study_id=row.study_id,
        version=row.version,
        kind=game.document.kind,
        title=row.title,
        sha256=row.sha256,
        state="open" if row.closed is None else "closed",
        options=shape.options,
        chance=1 / shape.options,
        seconds=row.seconds,
        opened=row.opened,
        closed=row.closed,
        units=len(game.items),
        left_out=game.left_out,
        readers=readers,
    )


def _progress(
    row: GameRow,
    reader: tuple[GameReaderRow, str],
    counts: dict[tuple[str, str], TrialCounts],
    at: datetime,
) -> GameProgress:
    member, name = reader
    found = counts.get((row.game_id, member.reader_id), NO_TRIALS)
    return GameProgress(
        pseudonym=member.pseudonym,
        name=name,
        trials=found.trials,
        answered=found.answered,
        late=found.late,
        missed=missed(row, found, at),
    )


def missed(row: GameRow, counts: TrialCounts, at: datetime) -> int:
    """The number of trials whose time has passed without an answer. The time of one may still run."""
    last = counts.last_opened
    runs = row.closed is None and last is not None and not time_is_over(row, last, at)
    return counts.unanswered - runs
