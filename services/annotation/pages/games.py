"""The pages of games: for the owner of a study, and for the readers who play."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import ValidationError
from starlette.datastructures import FormData
from starlette.responses import Response

from services.annotation.auth import check_csrf
from services.annotation.game_schemas import OpenGameRequest
from services.annotation.games.document import GameDocument
from services.annotation.pages import links
from services.annotation.pages.frame import Frame, redirect
from services.annotation.pages.reading import sent_form
from services.annotation.workflow.readers import Reader
from services.common.errors import Conflict, InvalidInput, NotFound, PrimitivesError, describe_faults

FIRST = {
    "kind": "intruder", "title": "", "instructions": "", "protocol": "", "choose": "protocol", "top": "20",
    "trials": "", "seconds": "20", "readers": "", "document": "",
}  # fmt: skip
"""The fields of an empty form."""


def routes(frame: Frame) -> APIRouter:
    """The routes of the pages of games."""
    router = APIRouter(include_in_schema=False)
    router.include_router(_owner_routes(frame))
    router.include_router(_player_routes(frame))
    return router


def _owner_routes(frame: Frame) -> APIRouter:
    router = APIRouter()
    manager = Annotated[Reader, Depends(frame.auth.manager)]
    sent = Annotated[FormData, Depends(sent_form)]
    path = "/studies/{study_id}/games"

    @router.get(path)
    def show(request: Request, study_id: str, reader: manager) -> Response:
        return _owner_page(frame, request, reader, study_id, FIRST)

    @router.post(path)
    def open_game(request: Request, study_id: str, reader: manager, form: sent) -> Response:
        check_csrf(request, str(form.get("csrf", "")))
        fields = {name: re.sub("\r\n?", "\n", str(form.get(name, first))) for name, first in FIRST.items()}
        try:
            frame.games.open(study_id, read_form(fields))
        except (InvalidInput, NotFound, Conflict) as error:
            return _owner_page(frame, request, reader, study_id, fields, error)
        return redirect(links.games(study_id))

    @router.post(f"{path}/{{game_id}}/close", dependencies=[Depends(frame.auth.manager)])
    def close_game(request: Request, study_id: str, game_id: str, form: sent) -> Response:
        check_csrf(request, str(form.get("csrf", "")))
        frame.games.close(study_id, game_id)
        return redirect(links.games(study_id))

    return router


def _player_routes(frame: Frame) -> APIRouter:
    router = APIRouter()
    signed_in = Annotated[Reader, Depends(frame.auth.page_reader)]
    path = "/games/{game_id}"

    @router.get(path)
    def start(request: Request, game_id: str, reader: signed_in) -> Response:
        return _start_page(frame, request, reader, game_id)

    @router.post(f"{path}/next")
    def open_next(
        request: Request, game_id: str, reader: signed_in, form: Annotated[FormData, Depends(sent_form)]
    ) -> Response:
        check_csrf(request, str(form.get("csrf", "")))
        try:
            trial = frame.trials.next(reader, game_id).trial
        except Conflict as error:
            return _start_page(frame, request, reader, game_id, str(error))
        return redirect(links.trial(trial.trial_id) if trial is not None else links.game(game_id))

    @router.get(f"{path}/results")
    def results(request: Request, game_id: str, reader: signed_in) -> Response:
        found = frame.game_scores.of(game_id, reader, reader.manages)
        return frame.page("game_results.html", request, reader, results=found)

    return router


def read_form(fields: dict[str, str]) -> OpenGameRequest:
    """The request in a form: the document in its text field, or the one that its other fields describe.

    InvalidInput names what is wrong.
    """
    readers = [line.strip() for line in fields["readers"].splitlines() if line.strip()]
    try:
        if fields["document"].strip():
            document = GameDocument.model_validate_json(fields["document"])
        else:
            document = GameDocument.model_validate(_document_of(fields))
        return OpenGameRequest(document=document, readers=readers)
    except ValidationError as error:
        raise InvalidInput(describe_faults(error.errors())) from error


def _document_of(fields: dict[str, str]) -> dict[str, Any]:
    units: dict[str, Any] | None = {"choose": fields["choose"]}
    if fields["choose"] == "ranked":
        units = {"choose": "ranked", "top": fields["top"]}
    elif fields["choose"] == "protocol":
        units = None
    names = ("kind", "title", "instructions", "protocol", "seconds")
    return {name: fields[name] for name in names} | {"units": units, "trials": fields["trials"].strip() or None}


def _owner_page(
    frame: Frame,
    request: Request,
    reader: Reader,
    study_id: str,
    fields: dict[str, str],
    error: PrimitivesError | None = None,
) -> Response:
    context: dict[str, Any] = {
        "study": frame.studies.get(study_id, reader),
        "protocols": frame.protocols.all(study_id).protocols,
        "games": frame.games.all(study_id).games,
        "fields": fields,
        "trouble": str(error) if error is not None else "",
    }
    return frame.page("games.html", request, reader, 422 if error is not None else 200, **context)


def _start_page(frame: Frame, request: Request, reader: Reader, game_id: str, trouble: str = "") -> Response:
    game = frame.trials.game(reader, game_id)
    context: dict[str, Any] = {"game": game, "study": frame.studies.get(game.study_id), "trouble": trouble}
    return frame.page("game.html", request, reader, 409 if trouble else 200, **context)
