"""The HTTP API of games: for the owners of studies, and for the readers who play."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse

from services.annotation.auth import Auth
from services.annotation.game_schemas import (
    AnswerTrialRequest,
    GameDetails,
    GameList,
    GameResults,
    NextTrial,
    OpenGameRequest,
    OwnGame,
    OwnGames,
    TrialView,
)
from services.annotation.record_api import FILE, sent_file
from services.annotation.workflow.exports import Exports, Format
from services.annotation.workflow.game_results import GameScores
from services.annotation.workflow.games import Games
from services.annotation.workflow.readers import Reader
from services.annotation.workflow.trials import Trials


def game_routes(auth: Auth, games: Games, results: GameScores, exports: Exports) -> APIRouter:
    """The routes of games for the owners of studies. All need the scope annotation:manage."""
    router = APIRouter(prefix="/v1/studies/{study_id}/games", tags=["games"])

    @router.post("", status_code=201)
    def open_game(study_id: str, request: OpenGameRequest) -> GameDetails:
        """Open a game about units of the study's protocol. It never changes."""
        return games.open(study_id, request)

    @router.get("")
    def list_games(study_id: str) -> GameList:
        """The games of the study, newest first, with the progress of their readers."""
        return games.all(study_id)

    @router.get("/{game_id}")
    def get_game(study_id: str, game_id: str) -> GameDetails:
        """A game with the progress of its readers, and with everything that its hash covers."""
        return games.get(study_id, game_id)

    @router.post("/{game_id}/close")
    def close_game(study_id: str, game_id: str) -> GameDetails:
        """Close a game: nothing more can be answered, and its readers see the results."""
        return games.close(study_id, game_id)

    @router.get("/{game_id}/results")
    def get_game_results(
        study_id: str, game_id: str, reader: Annotated[Reader | None, Depends(auth.optional_reader)]
    ) -> GameResults:
        """Correct answers against chance: in all, by reader, layer and unit. 403 for somebody who plays while the game
        is open."""
        return results.of(game_id, reader, True, study_id)

    @router.get("/{game_id}/export.{format}", response_class=StreamingResponse, responses=FILE)
    def export_trials(study_id: str, game_id: str, format: Format) -> StreamingResponse:
        """All trials of a game, with the patches that were shown, pseudonyms, answers and times."""
        return sent_file(exports.trials(study_id, game_id, format))

    return router


def trial_routes(auth: Auth, trials: Trials, results: GameScores) -> APIRouter:
    """The routes of games for readers. Each call is for the reader that it names."""
    router = APIRouter(prefix="/v1", tags=["games"])
    api_reader = Annotated[Reader, Depends(auth.api_reader)]

    @router.get("/games")
    def list_own_games(reader: api_reader) -> OwnGames:
        """The games of the reader, newest first."""
        return trials.games(reader)

    @router.get("/games/{game_id}")
    def get_own_game(game_id: str, reader: api_reader) -> OwnGame:
        """A game of the reader."""
        return trials.game(reader, game_id)

    @router.get("/games/{game_id}/results")
    def get_game_results_as_reader(game_id: str, reader: api_reader) -> GameResults:
        """The results of a game that the reader has played. 403 before it is closed."""
        return results.of(game_id, reader, manages=False)

    @router.post("/games/{game_id}/next")
    def open_next_trial(game_id: str, reader: api_reader) -> NextTrial:
        """The trial whose time runs, or else the next one, whose time begins with this call."""
        return trials.next(reader, game_id)

    @router.get("/trials/{trial_id}")
    def get_trial(trial_id: str, reader: api_reader) -> TrialView:
        """A trial that the reader has opened."""
        return trials.get(reader, trial_id)

    @router.put("/trials/{trial_id}/answer")
    def answer_trial(trial_id: str, request: AnswerTrialRequest, reader: api_reader) -> TrialView:
        """Answer a trial, in time or late. The same answer can be sent again; 409 if it is another one."""
        return trials.answer(reader, trial_id, request.choice)

    return router
