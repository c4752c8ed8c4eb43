"""The pages of a reading list: its start, and one page for each reading."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import ValidationError
from starlette.datastructures import FormData
from starlette.responses import Response

from services.annotation.answer import InvalidAnswer
from services.annotation.auth import check_csrf
from services.annotation.pages import links
from services.annotation.pages.frame import Frame, redirect
from services.annotation.pages.links import number_of
from services.annotation.pages.overview import page_of, pages_of
from services.annotation.pages.signing import SIGN_IN_FAULTS, faults_of
from services.annotation.pages.survey import OTHER_SESSION
from services.annotation.picture_responses import grey_response, image_response
from services.annotation.protocol.questionnaire import OTHER, AnswerValue
from services.annotation.protocol_schemas import (
    AnswerReadingRequest,
    DraftReadingRequest,
    ReadingView,
    SavedAnswer,
)
from services.annotation.sources import Region
from services.annotation.workflow.readers import Reader
from services.annotation.workflow.readings import StaleAnswer
from services.common.errors import Conflict, Forbidden, InvalidInput, NotFound, NotSignedIn, PrimitivesError
from services.common.identity import new_id

ANSWER = "answer."
"""The beginning of the names of form fields that hold answers; the identifier of the question follows."""
OWN_WORDS = ".other"
"""The end of the name of the form field with free text to a question about terms."""
LIST_OF_TERMS = ".terms"
"""The end of the name of the form fields with terms: there may be none or several."""

READINGS_A_PAGE = 500
"""Readings on a page of a reading list."""

_PATCH = re.compile("[1-9][0-9]?")
_VERSION = re.compile("[0-9]{1,8}")
_KEY = re.compile("[!-~]{1,64}")
_SECONDS = re.compile(r"[0-9]{1,5}(\.[0-9]{1,6})?")
_READING = re.compile("reading-[0-9a-f]{1,40}")


@dataclass(frozen=True)
class ReadingDraft:
    """An answer in a form, the version that it is based on, its idempotency key, and the times that were measured."""

    answers: dict[str, AnswerValue] = field(default_factory=dict)
    misfits: list[int] = field(default_factory=list)
    base_version: int = 0
    key: str = ""
    times: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of_form(cls, form: FormData) -> "ReadingDraft":
        """The draft in a sent form. Invalid versions, keys, patches and times are left out."""
        answers: dict[str, AnswerValue] = {}
        for name in form:
            if not name.startswith(ANSWER):
                continue
            values = [value for value in form.getlist(name) if isinstance(value, str)]
            question = name.removeprefix(ANSWER)
            if question.endswith(OWN_WORDS):
                own = [f"{OTHER}:{line}" for value in values for line in value.splitlines() if line.strip()]
                _terms(answers, question.removesuffix(OWN_WORDS)).extend(own)
            elif question.endswith(LIST_OF_TERMS):
                _terms(answers, question.removesuffix(LIST_OF_TERMS)).extend(values)
            else:
                answers[question] = values[-1]
        misfits = [int(text) for text in map(str, form.getlist("misfit")) if _PATCH.fullmatch(text)]
        return cls(
            answers=answers,
            misfits=sorted({number for number in misfits if number <= 64}),
            base_version=int(_matching(form, "base_version", _VERSION) or 0),
            key=_matching(form, "idempotency_key", _KEY),
            times={
                name: float(text)
                for name in ("first_action_s", "active_s")
                if (text := _matching(form, name, _SECONDS))
            },
        )

    @classmethod
    def of_view(cls, reading: ReadingView) -> "ReadingDraft":
        """What the form of a reading shows at first: an unfinished answer, or else the saved one."""
        saved = reading.second_answer or reading.answer if reading.revealed else reading.answer
        shown = reading.draft or saved or SavedAnswer(answers={})
        return cls(shown.answers, shown.misfits, reading.answer_version, new_id("key"))

    def request(self) -> AnswerReadingRequest:
        """The request to save the draft as an answer. InvalidInput if a field cannot be an answer at all."""
        try:
            return AnswerReadingRequest.model_validate(
                {
                    "answers": self.answers,
                    "misfits": self.misfits,
                    "base_version": self.base_version,
                    "idempotency_key": self.key,
                }
                | self.times
            )
        except ValidationError as error:
            raise InvalidInput("This form cannot be read. Please reload the page.") from error

    def fields(self) -> Iterator[tuple[str, str]]:
        """The names and values of a form that contains this draft."""
        for question, value in self.answers.items():
            if isinstance(value, str):
                yield f"{ANSWER}{question}", value
                continue
            for term in value:
                is_own = term.startswith(f"{OTHER}:")
                yield (
                    f"{ANSWER}{question}{OWN_WORDS if is_own else LIST_OF_TERMS}",
                    term.partition(":")[2] if is_own else term,
                )
        yield from (("misfit", str(number)) for number in self.misfits)
        yield "base_version", str(self.base_version)
        yield "idempotency_key", self.key
        yield from ((name, str(value)) for name, value in self.times.items())

    def terms(self, question: str) -> list[str]:
        """The terms of the vocabulary that are chosen for a question."""
        value = self.answers.get(question, [])
        return [] if isinstance(value, str) else [term for term in value if not term.startswith(f"{OTHER}:")]

    def own_words(self, question: str) -> str:
        """The free text of a question about terms, one phenomenon a line."""
        value = self.answers.get(question, [])
        terms = [] if isinstance(value, str) else value
        return "\n".join(term.partition(":")[2] for term in terms if term.startswith(f"{OTHER}:"))

    @property
    def description(self) -> str:
        """All text that the reader typed, for the page to sign in again."""
        texts = [value for value in self.answers.values() if isinstance(value, str) and " " in value]
        return "\n".join([*texts, *filter(None, map(self.own_words, self.answers))])


@dataclass
class ReadingPage:
    """The page of the reading that a request names."""

    frame: Frame
    request: Request
    reading_id: str

    def page(
        self,
        reader: Reader,
        draft: ReadingDraft | None = None,
        status: int = 200,
        token: str | None = None,
        **context: Any,
    ) -> Response:
        """The page, filled in with a draft, or with the saved answer if there is no draft."""
        reading = self.frame.readings.get(reader, self.reading_id)
        reading_list = self.frame.readings.list(reader, (reading.study_id, reading.version))
        study = self.frame.studies.get(reading.study_id)
        shown: dict[str, Any] = {"faults": {}, "stale": None, "trouble": "", "saved": False, "study": study}
        shown |= {"reading": reading, "list": reading_list, "draft": draft or ReadingDraft.of_view(reading)}
        shown |= {"typed": draft is not None, "upcoming": self.frame.readings.next(reader, self.reading_id)}
        return self.frame.page("reading.html", self.request, reader, status, token, **(shown | context))

    def save(self, reader: Reader, draft: ReadingDraft) -> Response:
        """Save the draft, and redirect to the next reading, or to this one if its labels may be revealed now."""
        try:
            saved = self.frame.readings.answer(reader, self.reading_id, draft.request())
        except InvalidAnswer as error:
            return self.page(reader, draft, status=422, faults=error.faults)
        except StaleAnswer as error:
            fresh = ReadingDraft(draft.answers, draft.misfits, error.version, new_id("key"), draft.times)
            return self.page(reader, fresh, status=409, stale=error)
        if saved.may_reveal or saved.revealed:
            return redirect(f"{links.reading(self.reading_id)}?saved=yes")
        return self.after(reader)

    def after(self, reader: Reader) -> Response:
        """Redirect to the next reading, or to the start of the list if none is left."""
        following = self.frame.readings.next(reader, self.reading_id)
        if following is None:
            view = self.frame.readings.get(reader, self.reading_id)
            return redirect(links.reading_list(view.study_id, view.version))
        return redirect(links.reading(following))

    def signed_out(self, draft: ReadingDraft, typed: str = "", error: PrimitivesError | None = None) -> Response:
        """The page to sign in again, with the draft in hidden fields."""
        context: dict[str, Any] = {"draft": draft, "action": links.reading(self.reading_id), "typed": typed}
        return self.frame.page("signed_out.html", self.request, None, 401, **context, **faults_of(error))

    def sign_in(self, draft: ReadingDraft, name: str, access_token: str) -> Response:
        """Sign in and show the draft again. The reader saves it."""
        try:
            reader, token = self.frame.auth.sign_in(self.request, name, access_token)
        except SIGN_IN_FAULTS as error:
            return self.signed_out(draft, name, error)
        trouble = "You are signed in again. Your answer below is not yet saved."
        response = self.page(reader, draft, token=token, trouble=trouble)
        self.frame.auth.set_cookie(response, token)
        return response


async def sent_form(request: Request) -> FormData:
    """The fields of a sent form, of which some may occur several times."""
    return await request.form(max_files=0, max_fields=500)


def routes(frame: Frame) -> APIRouter:
    """The routes of reading lists and readings."""
    router = APIRouter(include_in_schema=False)
    router.include_router(_list_routes(frame))
    router.include_router(_reading_routes(frame))
    router.include_router(_action_routes(frame))
    router.include_router(_picture_routes(frame))
    return router


def _list_routes(frame: Frame) -> APIRouter:
    router = APIRouter()
    signed_in = Annotated[Reader, Depends(frame.auth.page_reader)]

    @router.get("/reading/{study_id}/{version}")
    def start(request: Request, study_id: str, version: int, reader: signed_in) -> Response:
        return _list_page(frame, request, reader, (study_id, version))

    @router.get("/reading/{study_id}/{version}/results")
    def results(request: Request, study_id: str, version: int, reader: signed_in) -> Response:
        found = frame.results.of((study_id, version), reader, reader.manages)
        return frame.page("results.html", request, reader, results=found)

    @router.post("/reading/{study_id}/{version}/take")
    def take(
        request: Request, study_id: str, version: int, reader: signed_in, form: Annotated[FormData, Depends(sent_form)]
    ) -> Response:
        check_csrf(request, str(form.get("csrf", "")))
        try:
            found = frame.readings.take(reader, (study_id, version))
        except (NotFound, Conflict) as error:
            return _list_page(frame, request, reader, (study_id, version), str(error))
        return redirect(links.reading(found.next) if found.next else links.reading_list(study_id, version))

    return router


def _list_page(frame: Frame, request: Request, reader: Reader, key: tuple[str, int], trouble: str = "") -> Response:
    """The start of a list, with the page of its readings that the address names, or else that of the next reading."""
    found = frame.readings.list(reader, key)
    pages = pages_of(frame.readings.last_position(reader, key), READINGS_A_PAGE)
    if found.next is not None and "page" not in request.query_params:
        page = (frame.readings.position(reader, found.next) - 1) // READINGS_A_PAGE + 1
    else:
        page = page_of(request)
    positions = range((page - 1) * READINGS_A_PAGE + 1, page * READINGS_A_PAGE + 1)
    context: dict[str, Any] = {
        "list": found,
        "places": frame.readings.places(reader, key, positions).readings,
        "page": page,
        "pages": pages,
        "study": frame.studies.get(key[0]),
        "trouble": trouble,
    }
    return frame.page("reading_list.html", request, reader, **context)


def _reading_routes(frame: Frame) -> APIRouter:
    router = APIRouter()
    path = "/readings/{reading_id}"

    @router.get(path)
    def show(
        request: Request, reading_id: str, reader: Annotated[Reader, Depends(frame.auth.page_reader)], saved: str = ""
    ) -> Response:
        return ReadingPage(frame, request, reading_id).page(reader, saved=saved == "yes")

    @router.post(path)
    def save(
        request: Request,
        reading_id: str,
        reader: Annotated[Reader | None, Depends(frame.auth.session_reader)],
        form: Annotated[FormData, Depends(sent_form)],
    ) -> Response:
        page, draft = ReadingPage(frame, request, reading_id), ReadingDraft.of_form(form)
        if reader is None and _READING.fullmatch(reading_id) is None:
            raise NotSignedIn("Please sign in to see this page.")
        if reader is None:
            name = form.get("sign_in_name")
            if name is None:
                return page.signed_out(draft)
            return page.sign_in(draft, str(name), str(form.get("access_token", "")))
        try:
            check_csrf(request, str(form.get("csrf", "")))
        except Forbidden:
            return page.page(reader, draft, status=403, trouble=OTHER_SESSION)
        return page.save(reader, draft)

    return router


def _action_routes(frame: Frame) -> APIRouter:
    router = APIRouter()
    path = "/readings/{reading_id}"
    signed_in = Annotated[Reader, Depends(frame.auth.page_reader)]
    sent = Annotated[FormData, Depends(sent_form)]

    @router.post(f"{path}/draft", status_code=204)
    def save_draft(request: Request, reading_id: str, reader: signed_in, form: sent) -> Response:
        check_csrf(request, str(form.get("csrf", "")))
        draft = ReadingDraft.of_form(form)
        unfinished = DraftReadingRequest(answers=draft.answers, misfits=draft.misfits, base_version=draft.base_version)
        frame.readings.save_draft(reader, reading_id, unfinished)
        return Response(status_code=204)

    @router.post(f"{path}/skip")
    def skip(request: Request, reading_id: str, reader: signed_in, form: sent) -> Response:
        check_csrf(request, str(form.get("csrf", "")))
        frame.readings.skip(reader, reading_id)
        return ReadingPage(frame, request, reading_id).after(reader)

    @router.post(f"{path}/reveal")
    def reveal(request: Request, reading_id: str, reader: signed_in, form: sent) -> Response:
        check_csrf(request, str(form.get("csrf", "")))
        frame.readings.reveal(reader, reading_id)
        return redirect(links.reading(reading_id))

    return router


def _picture_routes(frame: Frame) -> APIRouter:
    router = APIRouter()
    signed_in = Annotated[Reader, Depends(frame.auth.page_reader)]

    @router.get("/readings/{reading_id}/pictures/{number}.jpg")
    def picture(reading_id: str, number: str, reader: signed_in) -> Response:
        return image_response(frame.readings.picture(reader, reading_id, number_of(number)))

    @router.get("/readings/{reading_id}/mammograms/{number}.jpg")
    def mammogram(reading_id: str, number: str, reader: signed_in) -> Response:
        return image_response(frame.readings.mammogram(reader, reading_id, number_of(number)))

    @router.get("/readings/{reading_id}/patches/{number}.grey")
    def source(reading_id: str, number: str, reader: signed_in) -> Response:
        return grey_response(frame.readings.source(reader, reading_id, number_of(number)))

    @router.get("/readings/{reading_id}/mammograms/{number}.grey")
    def region_of_mammogram(reading_id: str, number: str, reader: signed_in, region: str = "") -> Response:
        return grey_response(frame.readings.region(reader, reading_id, number_of(number), Region.parse(region)))

    return router


def _terms(answers: dict[str, AnswerValue], question: str) -> list[str]:
    """The list of terms of a question, added if it is missing."""
    value = answers.get(question)
    if not isinstance(value, list):
        value = answers[question] = []
    return value


def _matching(form: FormData, name: str, pattern: re.Pattern[str]) -> str:
    """The text of a field if it matches a pattern; else empty."""
    value = form.get(name)
    return value if isinstance(value, str) and pattern.fullmatch(value) else ""
