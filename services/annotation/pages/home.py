"""The home page, the reader's own answers, and the summary of all readers."""

from itertools import groupby
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from services.annotation.pages.frame import Frame
from services.annotation.schemas import ResponseView, StudyView, Summary, UnitPlace
from services.annotation.workflow.readers import Reader

ANSWERS_A_PAGE = 50


def routes(frame: Frame) -> APIRouter:
    """The routes of the pages that cover all studies."""
    router = APIRouter(include_in_schema=False)
    signed_in = Annotated[Reader, Depends(frame.auth.page_reader)]

    @router.get("/")
    def home(request: Request, reader: signed_in) -> Response:
        studies = frame.studies.all(reader).studies
        answered = _units_by_layer(frame.responses.places(reader), studies)
        return frame.page("home.html", request, reader, studies=studies, answered=answered)

    @router.get("/answers")
    def answers(
        request: Request,
        reader: signed_in,
        page: Annotated[int, Query(ge=1, le=100_000)] = 1,
    ) -> Response:
        studies = frame.studies.all(reader).studies
        own = frame.responses.own(reader, (page - 1) * ANSWERS_A_PAGE, ANSWERS_A_PAGE)
        thumbs = frame.units.thumbs(reader, [(one.study_id, one.layer, one.unit) for one in own.responses])
        pages = max(1, -(-own.total // ANSWERS_A_PAGE))
        context: dict[str, Any] = {"answered": _by_layer(own.responses, studies), "thumbs": thumbs, "total": own.total}
        return frame.page("answers.html", request, reader, page=page, pages=pages, notices=_notices(studies), **context)

    @router.get("/summary")
    def summary(request: Request, reader: signed_in) -> Response:
        studies = frame.studies.all(reader).studies
        answerable = {(study.study_id, layer.name): layer.all.units for study in studies for layer in study.layers}
        readers = _summary(frame.responses.summary(reader=reader), studies)
        return frame.page("summary.html", request, reader, readers=readers, answerable=answerable)

    return router


Grouped = list[tuple[StudyView, str, list[ResponseView]]]
AnsweredUnits = list[tuple[StudyView, str, list[int]]]


def _by_layer(own: list[ResponseView], studies: list[StudyView]) -> Grouped:
    """Answers grouped by study and layer, in their order."""
    by_id = {study.study_id: study for study in studies}
    groups = groupby(own, key=lambda one: (one.study_id, one.layer))
    return [(by_id[study_id], layer, list(group)) for (study_id, layer), group in groups]


def _summary(summary: Summary, studies: list[StudyView]) -> list[tuple[str, int, AnsweredUnits]]:
    """Each reader's name, number of answers, and answered units by study and layer."""
    return [(one.name, len(one.answered), _units_by_layer(one.answered, studies)) for one in summary.readers]


def _units_by_layer(places: list[UnitPlace], studies: list[StudyView]) -> AnsweredUnits:
    """Units grouped by study and layer, in their order."""
    by_id = {study.study_id: study for study in studies}
    groups = groupby(places, key=_layer_of)
    return [(by_id[study], layer, [place.unit for place in group]) for (study, layer), group in groups]


def _layer_of(place: UnitPlace) -> tuple[str, str]:
    return place.study_id, place.layer


def _notices(studies: list[StudyView]) -> list[str]:
    """The different notices of the studies' data sets."""
    return list(dict.fromkeys(study.notice for study in studies if study.notice))
