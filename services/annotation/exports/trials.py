"""The trials of a game as a table."""

import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from services.annotation.exports.columns import Column, Row
from services.annotation.exports.readings import moment_text
from services.annotation.games.scores import PlayedTrial
from services.imaging.units import unit_name

COLUMNS = (
    Column("study_id", "text"), Column("protocol_version", "integer"), Column("game_id", "text"),
    Column("game_sha256", "text"), Column("kind", "text"), Column("seconds", "number"), Column("reader", "text"),
    Column("position", "integer"), Column("item", "integer"), Column("layer", "text"), Column("unit", "integer"),
    Column("unit_name", "text"), Column("shown_units", "integers"), Column("shown_ranks", "integers"),
    Column("right", "integer"), Column("known", "boolean"), Column("state", "text"), Column("choice", "integer"),
    Column("correct", "boolean"), Column("opened", "moment"), Column("answered", "moment"),
)  # fmt: skip


class PlayedGame(NamedTuple):
    """The game that trials belong to."""

    study_id: str
    version: int
    game_id: str
    sha256: str
    kind: str
    seconds: float


def trial_rows(game: PlayedGame, trials: Iterable[PlayedTrial]) -> Iterator[Row]:
    """The rows of trials, in their order."""
    for one in trials:
        units, ranks = [unit for unit, _ in one.shown], [rank for _, rank in one.shown]
        yield [
            *game, one.reader, one.position, one.item, one.layer, one.unit, unit_name(one.unit), units, ranks,
            one.right, one.known, one.state, one.choice, one.correct, one.opened, one.answered,
        ]  # fmt: skip


def trial_lines(game: PlayedGame, trials: Iterable[PlayedTrial]) -> Iterator[str]:
    """Trials as lines of JSON."""
    names = [column.name for column in COLUMNS]
    for row in trial_rows(game, trials):
        line = dict(zip(names, row, strict=True))
        line |= {name: moment_text(line[name]) for name in ("opened", "answered")}
        yield f"{json.dumps(line)}\n"
