"""Requests and answers about games and their trials, for HTTP."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from services.annotation.games.document import FrozenGame, GameDocument, GameKind
from services.annotation.games.scores import Score
from services.annotation.protocol_schemas import MOST_READERS
from services.common.requests import RequestModel
from services.common.work.views import Moment

OwnTrialState = Literal["shown", "answered", "late", "missed"]


class OpenGameRequest(RequestModel):
    """Open a game for the readers with these names."""

    document: GameDocument
    readers: list[Annotated[str, Field(max_length=200)]] = Field(min_length=1, max_length=MOST_READERS)


class GameProgress(BaseModel):
    """A reader of a game, with the numbers of trials: all, answered in time, late, and missed."""

    pseudonym: str
    name: str
    trials: int
    answered: int
    late: int
    missed: int


class GameView(BaseModel):
    """A game, for the study's owner."""

    game_id: str
    study_id: str
    version: int = Field(description="Version of the study's protocol.")
    kind: GameKind
    title: str
    sha256: str
    state: Literal["open", "closed"]
    options: int = Field(description="Patches of a trial.")
    chance: float = Field(description="Share of right answers by chance.")
    seconds: float
    opened: Moment
    closed: Moment
    units: int
    left_out: int = Field(description="Units that have no description, in predict-the-unit.")
    readers: list[GameProgress]


class GameDetails(GameView):
    """A game with everything that its hash covers."""

    content: FrozenGame


class GameList(BaseModel):
    """The games of a study, newest first."""

    games: list[GameView]


class OwnGame(BaseModel):
    """A game, for one of its readers. `played` counts the trials that have ended, also late and missed ones."""

    game_id: str
    study_id: str
    kind: GameKind
    title: str
    instructions: str
    state: Literal["open", "closed"]
    options: int
    chance: float
    seconds: float
    trials: int
    played: int
    has_next: bool = Field(description="Whether there is a trial to play: one whose time runs, or one to open.")


class OwnGames(BaseModel):
    """The games of a reader, newest first."""

    games: list[OwnGame]


class TrialView(BaseModel):
    """A trial that its reader has opened. It names neither the unit nor the right answer."""

    trial_id: str
    game_id: str
    study_id: str
    kind: GameKind
    position: int
    trials: int
    options: int = Field(description="Patches, which are numbered from 1.")
    description: str = Field(description="Of the unit, one term or text a line; empty in the intruder game.")
    state: OwnTrialState
    seconds: float
    remaining_s: float = Field(description="Until the time has passed; 0 afterwards.")
    choice: int | None
    next: str | None = Field(description="The trial that opens after this one; null after the last.")


class NextTrial(BaseModel):
    """The trial to play; null when all have ended."""

    trial: TrialView | None


class AnswerTrialRequest(RequestModel):
    """The number of the patch that the reader chooses."""

    choice: int = Field(ge=1, le=5)


class ReaderScore(BaseModel):
    """The score of a reader. `unfamiliar` are the trials of units that the reader had not read before the game."""

    pseudonym: str
    score: Score
    unfamiliar: Score


class LayerScore(BaseModel):
    """The score of all readers on the units of a layer."""

    layer: str
    score: Score


class UnitScore(BaseModel):
    """The score of all readers on a unit."""

    layer: str
    unit: int
    description: str
    score: Score


class GameResults(BaseModel):
    """The results of a game. Readers are pseudonyms. Intervals of 95% and chances are exact for independent trials."""

    game_id: str
    study_id: str
    version: int
    kind: GameKind
    title: str
    sha256: str
    architecture: str
    state: Literal["open", "closed"]
    options: int
    chance: float
    seconds: float
    total: Score
    unfamiliar: Score
    readers: list[ReaderScore]
    layers: list[LayerScore]
    units: list[UnitScore]
