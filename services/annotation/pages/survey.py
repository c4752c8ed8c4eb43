"""The survey of a unit: its pictures and the four questions."""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request
from pydantic import BaseModel
from starlette.responses import RedirectResponse, Response

from services.annotation.answer import Answer, InvalidAnswer, StaleVersion
from services.annotation.api import place_of
from services.annotation.auth import check_csrf
from services.annotation.neighbours import Neighbours
from services.annotation.pages import links
from services.annotation.pages.frame import Frame
from services.annotation.pages.links import channel_of
from services.annotation.pages.overview import default_class, layer_of, saved_of
from services.annotation.pages.signing import SIGN_IN_FAULTS, add_retry_after, faults_of
from services.annotation.repository import UnitKey
from services.annotation.schemas import Place, UnitView
from services.annotation.workflow.readers import Reader
from services.common.errors import Forbidden, NotFound, NotSignedIn, PrimitivesError
from services.common.identity import new_id
from services.imaging.units import unit_name

FIRST_PICTURES = 32
OTHER_SESSION = (
    "This form belongs to an earlier session. Nothing is saved yet: please check your answer and save it again."
)


@dataclass
class Survey:
    """The survey of the unit that a request names, within a list."""

    frame: Frame
    request: Request
    key: UnitKey
    place: Place

    def page(
        self, reader: Reader, draft: "Draft | None" = None, status: int = 200, token: str | None = None, **context: Any
    ) -> Response:
        """The page, filled in with a draft, or with the saved answer if there is no draft."""
        study = self.frame.studies.get(self.key[0], reader)
        layer = layer_of(study, self.key[1])
        place = default_class(study, self.place)
        unit = self.frame.units.get(reader, self.key)
        around = self.frame.units.neighbours(reader, self.key, place)
        shown: dict[str, Any] = {"faults": {}, "stale": None, "trouble": "", "saved": None}
        shown |= {"study": study, "layer": layer, "place": place, "unit": unit, "around": around}
        shown |= {"draft": draft or _saved_draft(unit), "typed": draft is not None}
        shown |= {"first": FIRST_PICTURES, "back": self._back(place, around)}
        return self.frame.page("survey.html", self.request, reader, status, token, **(shown | context))

    def save(self, reader: Reader, draft: "Draft") -> Response:
        """Save the draft and redirect to the next unanswered unit. A draft with errors is shown again with them."""
        try:
            self.frame.responses.put(reader, self.key, draft.answer, draft.base_version, draft.key)
        except InvalidAnswer as error:
            return self.page(reader, draft, status=422, faults=error.faults)
        except StaleVersion as error:
            fresh = Draft(draft.answer, error.version, new_id("key"))
            return self.page(reader, fresh, status=409, stale=error)
        return RedirectResponse(self._after_saving(reader), status_code=303)

    def signed_out(self, draft: "Draft", typed: str = "", error: PrimitivesError | None = None) -> Response:
        """The page to sign in again, with the draft in hidden fields."""
        action = links.survey(*self.key, self.place)
        context: dict[str, Any] = {"draft": draft, "action": action, "typed": typed} | faults_of(error)
        return self.frame.page("signed_out.html", self.request, None, status=401, **context)

    def sign_in(self, draft: "Draft", name: str, access_token: str, password: str) -> Response:
        """Sign in and show the draft again. The reader saves it."""
        try:
            reader, token = self.frame.auth.sign_in(self.request, name, access_token, password)
        except SIGN_IN_FAULTS as error:
            refused = self.signed_out(draft, name, error)
            add_retry_after(refused, error)
            return refused
        trouble = "You are signed in again. Your answer below is not yet saved."
        response = self.page(reader, draft, token=token, trouble=trouble)
        self.frame.auth.set_cookie(response, token)
        return response

    def _after_saving(self, reader: Reader) -> str:
        study_id, layer, unit = self.key
        place = default_class(self.frame.studies.get(study_id, reader), self.place)
        around = self.frame.units.neighbours(reader, self.key, place)
        saved = unit_name(unit)
        if around.next_unanswered is None:
            address, _, anchor = self._back(place, around).partition("#")
            return f"{address}&saved={saved}#{anchor}"
        return links.survey(study_id, layer, around.next_unanswered, place, saved)

    def _back(self, place: Place, around: Neighbours) -> str:
        study_id, layer, unit = self.key
        page = (max(around.position, 1) - 1) // links.UNITS_A_PAGE + 1
        return links.overview(study_id, layer, place, page, unit)


class SurveyForm(BaseModel):
    """The fields of a sent form. The page to sign in again adds `sign_in_name`, and `access_token` or
    `password`."""

    recognizable: str = ""
    associated: str = ""
    multiplicity: str = ""
    description: str = ""
    base_version: str = "0"
    idempotency_key: str = ""
    csrf: str = ""
    sign_in_name: str | None = None
    access_token: str = ""
    password: str = ""

    def draft(self) -> "Draft":
        """The draft in the form. Invalid versions and keys are left out."""
        answer = Answer(self.recognizable, self.associated, self.multiplicity, self.description)
        number = re.fullmatch("[0-9]{1,8}", self.base_version)
        key = self.idempotency_key if re.fullmatch("[!-~]{1,64}", self.idempotency_key) else ""
        return Draft(answer, int(number[0]) if number else 0, key)


@dataclass(frozen=True)
class Draft:
    """An answer in a form, the version that it is based on, and the idempotency key."""

    answer: Answer
    base_version: int
    key: str

    def fields(self) -> Iterator[tuple[str, str]]:
        """The names and values of a form that contains this draft."""
        yield from asdict(self.answer).items()
        yield from (("base_version", str(self.base_version)), ("idempotency_key", self.key))

    @property
    def description(self) -> str:
        """All text that the reader typed."""
        return self.answer.description


def routes(frame: Frame) -> APIRouter:
    """The routes of the survey."""
    router = APIRouter(include_in_schema=False)
    path = "/studies/{study_id}/layers/{layer}/units/{unit}"

    def survey_of(
        request: Request, study_id: str, layer: str, unit: str, place: Annotated[Place, Depends(place_of)]
    ) -> Survey:
        return Survey(frame, request, (study_id, layer, channel_of(unit)), place)

    def sent_survey(
        request: Request,
        study_id: str,
        layer: str,
        unit: str,
        place: Annotated[Place, Depends(place_of)],
        reader: Annotated[Reader | None, Depends(frame.auth.session_reader)],
    ) -> Survey:
        try:
            return survey_of(request, study_id, layer, unit, place)
        except NotFound as error:
            if reader is None:  # nobody learns anything about an address before signing in
                raise NotSignedIn("Please sign in to see this page.") from error
            raise

    # FastAPI resolves the parameters in this order: the session is checked before the names of the address are read.
    @router.get(path)
    def show(
        reader: Annotated[Reader, Depends(frame.auth.page_reader)], survey: Annotated[Survey, Depends(survey_of)]
    ) -> Response:
        saved = saved_of(frame, survey.request, reader, *survey.key[:2])
        return survey.page(reader, saved=saved)

    @router.post(path)
    def save(
        reader: Annotated[Reader | None, Depends(frame.auth.session_reader)],
        survey: Annotated[Survey, Depends(sent_survey)],
        form: Annotated[SurveyForm, Form()],
    ) -> Response:
        draft = form.draft()
        if reader is None:
            if form.sign_in_name is None:
                return survey.signed_out(draft)
            return survey.sign_in(draft, form.sign_in_name, form.access_token, form.password)
        try:
            check_csrf(survey.request, form.csrf)
        except Forbidden:
            return survey.page(reader, draft, status=403, trouble=OTHER_SESSION)
        return survey.save(reader, draft)

    return router


def _saved_draft(unit: UnitView) -> Draft:
    saved = unit.response
    if saved is None:
        return Draft(Answer(), 0, new_id("key"))
    answer = Answer(saved.recognizable, saved.associated, saved.multiplicity, saved.description)
    return Draft(answer, saved.version, new_id("key"))
