"""Games of reader studies: the intruder game and predict-the-unit, for owners and for readers."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from primitives_client.connection import path_of
from primitives_client.models import annotation as models
from primitives_client.pages import Pages
from primitives_client.reading import read_document, whole
from primitives_client.resources import Connections, Resource, of_view, request
from primitives_client.tables import Row, Table

GameDocument = models.GameDocument | Mapping[str, Any] | str | Path
"""The document of a game: a model, a dictionary, or the path of a JSON file."""


class GameResults(Resource, models.GameResults):
    """The results of a game: right answers against chance. `total`, `readers`, `layers` and `units` have everything,
    the methods make tables of it."""

    def reader_table(self) -> Table:
        """Return a row for each reader."""
        return Table([{"pseudonym": one.pseudonym, **_score_row(one.score)} for one in self.readers])

    def layer_table(self) -> Table:
        """Return a row for each layer."""
        return Table([{"layer": one.layer, **_score_row(one.score)} for one in self.layers])

    def unit_table(self) -> Table:
        """Return a row for each unit, with its description in predict-the-unit."""
        return Table(
            [
                {"layer": one.layer, "unit": one.unit, "description": one.description, **_score_row(one.score)}
                for one in self.units
            ]
        )

    def row(self) -> Row:
        """The row of these results in a table."""
        names = ("game_id", "study_id", "version", "kind", "title", "state", "chance", "seconds")
        return {**{name: getattr(self, name) for name in names}, **_score_row(self.total)}

    def _repr_html_(self) -> str:
        tables = (self.reader_table(), self.layer_table(), self.unit_table())
        return super()._repr_html_() + "".join(table._repr_html_() for table in tables)


class Game(Resource, models.GameView):
    """A game of a study. All its methods need a token with annotation:manage."""

    def refresh(self) -> Self:
        """Read the game again, with the progress of its readers."""
        return self._take(self._connections.annotation.get(type(self), self._path()))

    def content(self) -> models.FrozenGame:
        """Read everything that the hash of the game covers: document, units, descriptions, and what readers know."""
        return self._connections.annotation.get(models.GameDetails, self._path()).content

    def close(self) -> Self:
        """Close the game: nothing more can be answered. Closing it again changes nothing."""
        return self._take(self._connections.annotation.act(type(self), self._path("close")))

    def results(self) -> GameResults:
        """Compute the results from the current answers."""
        return self._connections.annotation.get(GameResults, self._path("results"))

    def reader_table(self) -> Table:
        """Return a row for each reader: pseudonym, name and progress, as they were when the game was read."""
        return Table([reader.model_dump() for reader in self.readers])

    def _path(self, *more: str) -> str:
        return path_of("studies", self.study_id, "games", self.game_id, *more)


class Trial(Resource, models.TrialView):
    """A trial that the reader has opened. It names neither the unit nor the right answer."""

    def answer(self, choice: int) -> Self:
        """Choose a patch, in time or late. The same answer again changes nothing; Conflict if it is another one."""
        body = request(models.AnswerTrialRequest, {"choice": choice})
        return self._take(
            self._connections.annotation.put(type(self), path_of("trials", self.trial_id, "answer"), body)
        )

    def refresh(self) -> Self:
        """Read the trial again, with the time that is left."""
        return self._take(self._connections.annotation.get(type(self), path_of("trials", self.trial_id)))


class OwnGame(Resource, models.OwnGame):
    """A game of the reader."""

    def refresh(self) -> Self:
        """Read the game again."""
        return self._take(self._connections.annotation.get(type(self), self._path()))

    def next(self) -> Trial | None:
        """Return the trial whose time runs, or open the next one, whose time begins now. None when all have ended."""
        trial = self._connections.annotation.act(models.NextTrial, self._path("next")).trial
        return of_view(Trial, trial, self._connections) if trial is not None else None

    def results(self) -> GameResults:
        """Compute the results, as a reader of the game. Forbidden before it is closed."""
        return self._connections.annotation.get(GameResults, self._path("results"))

    def _path(self, *more: str) -> str:
        return path_of("games", self.game_id, *more)


def open_game(connections: Connections, study_id: str, document: GameDocument, readers: Collection[str]) -> Game:
    """Open a game of a study."""
    content = read_document(Path(document)) if isinstance(document, str | Path) else document
    values = {"document": request(models.GameDocument, content), "readers": readers}
    body = request(models.OpenGameRequest, values)
    return connections.annotation.act(Game, path_of("studies", study_id, "games"), body)._of(connections)


def games_of(connections: Connections, study_id: str) -> Pages[Game]:
    """Return the games of a study."""

    def read() -> Sequence[Game]:
        found = connections.annotation.get(models.GameList, path_of("studies", study_id, "games"))
        return [of_view(Game, one, connections) for one in found.games]

    return whole(read)


def own_games_of(connections: Connections) -> Pages[OwnGame]:
    """Return the games of the client's reader."""

    def read() -> Sequence[OwnGame]:
        found = connections.annotation.get(models.OwnGames, path_of("games"))
        return [of_view(OwnGame, one, connections) for one in found.games]

    return whole(read)


def _score_row(score: models.Score) -> Row:
    correct = score.in_time.correct
    return {
        "trials": score.trials,
        "answered": correct.trials,
        "late": score.late,
        "missed": score.missed,
        "right": correct.successes,
        "share": correct.value,
        "share_low": correct.low,
        "share_high": correct.high,
        "p_value": score.in_time.p_value,
    }
