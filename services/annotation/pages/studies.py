"""Studies for their owners: opening one of a completed rendering, and its title."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request
from pydantic import ValidationError
from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response

from services.annotation.pages import links
from services.annotation.pages.forms import SentForm, new_key, texts_of
from services.annotation.pages.frame import Frame
from services.annotation.pages.reading import sent_form
from services.annotation.schemas import ChangeStudyRequest, OpenStudyRequest
from services.annotation.workflow.readers import Reader
from services.common.errors import Conflict, InvalidInput, NotFound, PrimitivesError, describe_faults
from services.common.http.app import status_of
from services.common.paging import MOST_ITEMS, Window
from services.common.work.starts import CallKey

FIELDS = ("rendering_id", "title", "units_per_class", "labels_shown", "key")


class StudyForm(SentForm):
    """The form that opens a study."""

    rendering_id: str = ""
    title: str = ""
    units_per_class: str = "20"
    labels_shown: str = "after_list"

    def request(self) -> OpenStudyRequest:
        """The request of the API. InvalidInput names what is wrong."""
        try:
            return OpenStudyRequest.model_validate(self.model_dump(exclude={"key"}))
        except ValidationError as error:
            raise InvalidInput(describe_faults(error.errors())) from error


def routes(frame: Frame) -> APIRouter:
    """The routes of the pages."""
    router = APIRouter(include_in_schema=False)
    manager = Annotated[Reader, Depends(frame.auth.manager)]

    @router.get("/new-study")
    def new(request: Request, reader: manager, rendering: str = "") -> Response:
        typed = {"rendering_id": rendering, "title": "", "units_per_class": "20", "labels_shown": "after_list"}
        return _form_page(frame, request, reader, typed | {"key": new_key()})

    @router.post("/new-study")
    def start(request: Request, reader: manager, form: Annotated[FormData, Depends(sent_form)]) -> Response:
        frame.auth.check_manager(request, reader, str(form.get("csrf", "")))
        try:
            sent = StudyForm.read(form)
            study = frame.studies.start(sent.request(), CallKey(f"page {reader.reader_id}", sent.key))
        except (InvalidInput, NotFound, Conflict) as error:
            return _form_page(frame, request, reader, texts_of(form, names=FIELDS), error)
        return RedirectResponse(links.protocols(study.study_id), status_code=303)

    @router.post("/studies/{study_id}/title")
    def rename(
        request: Request,
        reader: manager,
        study_id: str,
        title: Annotated[str, Form()] = "",
        csrf: Annotated[str, Form()] = "",
    ) -> Response:
        frame.auth.check_manager(request, reader, csrf)
        try:
            change = ChangeStudyRequest(title=title)
        except ValidationError as error:
            raise InvalidInput("a title has 1 to 200 characters") from error
        frame.studies.change(study_id, change)
        return RedirectResponse(links.protocols(study_id), status_code=303)

    return router


def _form_page(
    frame: Frame, request: Request, reader: Reader, typed: dict[str, str], error: PrimitivesError | None = None
) -> Response:
    renderings = frame.rendering.renderings(Window(limit=MOST_ITEMS)).renderings
    context: dict[str, Any] = {
        "renderings": [one for one in renderings if one.state == "completed"],
        "typed": typed,
        "trouble": str(error) if error is not None else "",
    }
    return frame.page("study_new.html", request, reader, status_of(error) if error is not None else 200, **context)
