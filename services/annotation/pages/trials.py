"""The page of a trial, and its pictures. Neither address nor page names the unit or the right answer."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.datastructures import FormData
from starlette.responses import Response

from services.annotation.auth import check_csrf
from services.annotation.pages import links
from services.annotation.pages.frame import Frame, redirect
from services.annotation.pages.links import number_of
from services.annotation.pages.reading import sent_form
from services.annotation.picture_responses import image_response
from services.annotation.workflow.readers import Reader
from services.common.errors import Conflict, InvalidInput

_CHOICE = re.compile("[1-9]")


def routes(frame: Frame) -> APIRouter:
    """The routes of trials."""
    router = APIRouter(include_in_schema=False)
    signed_in = Annotated[Reader, Depends(frame.auth.page_reader)]
    path = "/trials/{trial_id}"

    @router.get(path)
    def show(request: Request, trial_id: str, reader: signed_in) -> Response:
        return _page(frame, request, reader, trial_id)

    @router.post(path)
    def answer(
        request: Request, trial_id: str, reader: signed_in, form: Annotated[FormData, Depends(sent_form)]
    ) -> Response:
        check_csrf(request, str(form.get("csrf", "")))
        text = str(form.get("choice", ""))
        try:
            if _CHOICE.fullmatch(text) is None:
                raise InvalidInput("Choose one of the patches.")
            saved = frame.trials.answer(reader, trial_id, int(text))
        except (InvalidInput, Conflict) as error:
            status = 409 if isinstance(error, Conflict) else 422
            return _page(frame, request, reader, trial_id, status, trouble=str(error))
        if saved.state == "late":
            return redirect(links.trial(trial_id))
        if form.get("pause") == "yes":
            return redirect(links.game(saved.game_id))
        return _next(frame, reader, saved.game_id)

    @router.get(f"{path}/pictures/{{number}}.jpg")
    def picture(trial_id: str, number: str, reader: signed_in) -> Response:
        return image_response(frame.trials.picture(reader, trial_id, number_of(number)))

    return router


def _page(
    frame: Frame, request: Request, reader: Reader, trial_id: str, status: int = 200, trouble: str = ""
) -> Response:
    trial = frame.trials.get(reader, trial_id)
    context: dict[str, Any] = {
        "trial": trial,
        "game": frame.trials.game(reader, trial.game_id),
        "study": frame.studies.get(trial.study_id),
        "trouble": trouble,
    }
    return frame.page("trial.html", request, reader, status, **context)


def _next(frame: Frame, reader: Reader, game_id: str) -> Response:
    """Open the next trial and redirect to it; to the start of the game if there is none, or if it cannot be opened."""
    try:
        trial = frame.trials.next(reader, game_id).trial
    except Conflict:
        trial = None
    return redirect(links.trial(trial.trial_id) if trial is not None else links.game(game_id))
