"""The home page, the reader's own answers, and, for researchers, the summary of all readers."""

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from services.annotation.pages.frame import Frame
from services.annotation.pages.overview import page_of, pages_of, window_of_page
from services.annotation.schemas import ResponseView, StudyView, UnitPlace
from services.annotation.workflow.readers import Reader

STUDIES_A_PAGE = 20
LATEST_ANSWERS = 50
"""Answers of the reader on the home page."""
ANSWERS_A_PAGE = 50
ANSWERED_A_PAGE = 500
"""Answered units on a page of the summary."""


def routes(frame: Frame) -> APIRouter:
    """The routes of the pages that cover all studies."""
    router = APIRouter(include_in_schema=False)
    signed_in = Annotated[Reader, Depends(frame.auth.page_reader)]

    @router.get("/")
    def home(request: Request, reader: signed_in) -> Response:
        page = page_of(request)
        part = frame.studies.all(reader, window_of_page(page, STUDIES_A_PAGE))
        latest, answers = frame.responses.latest(reader, LATEST_ANSWERS)
        context: dict[str, Any] = {
            "lists": frame.readings.lists(reader).lists,
            "games": frame.trials.games(reader).games,
            "studies": part.studies,
            "total": part.total,
            "page": page,
            "pages": pages_of(part.total, STUDIES_A_PAGE),
            "answered": _units_by_layer(latest, _studies_of(frame, latest)),
            "answers": answers,
            "shown": LATEST_ANSWERS,
        }
        return frame.page("home.html", request, reader, **context)

    @router.get("/answers")
    def answers(
        request: Request,
        reader: signed_in,
        page: Annotated[int, Query(ge=1, le=100_000)] = 1,
    ) -> Response:
        own = frame.responses.own(reader, (page - 1) * ANSWERS_A_PAGE, ANSWERS_A_PAGE)
        studies = _studies_of(frame, own.responses)
        thumbs = frame.units.thumbs(reader, [(one.study_id, one.layer, one.unit) for one in own.responses])
        pages = pages_of(own.total, ANSWERS_A_PAGE)
        context: dict[str, Any] = {"answered": _by_layer(own.responses, studies), "thumbs": thumbs, "total": own.total}
        return frame.page("answers.html", request, reader, page=page, pages=pages, notices=_notices(studies), **context)

    @router.get("/summary")
    def summary(request: Request, reader: Annotated[Reader, Depends(frame.auth.researcher)]) -> Response:
        page = page_of(request)
        part = frame.responses.summary(reader, window=window_of_page(page, ANSWERED_A_PAGE))
        studies = _studies_of(frame, [place for one in part.readers for place in one.answered])
        context: dict[str, Any] = {
            "readers": [(one.name, one.total, _units_by_layer(one.answered, studies)) for one in part.readers],
            "counts": frame.responses.totals_by_layer({one.name for one in part.readers}, studies.keys()),
            "answerable": {(study_id, layer.name): layer.all.units for study_id, study in studies.items()
                           for layer in study.layers},
            "page": page,
            "pages": pages_of(part.total, ANSWERED_A_PAGE),
        }  # fmt: skip
        return frame.page("summary.html", request, reader, **context)

    return router


Grouped = list[tuple[StudyView, str, list[ResponseView]]]
AnsweredUnits = list[tuple[StudyView, str, list[int]]]
StudiesById = Mapping[str, StudyView]


def _studies_of(frame: Frame, places: Iterable[UnitPlace | ResponseView]) -> StudiesById:
    """The studies of some units or answers, by id."""
    return frame.studies.some({place.study_id for place in places})


def _by_layer(own: list[ResponseView], studies: StudiesById) -> Grouped:
    """Answers grouped by study and layer, in their order."""
    groups = groupby(own, key=lambda one: (one.study_id, one.layer))
    return [(studies[study_id], layer, list(group)) for (study_id, layer), group in groups]


def _units_by_layer(places: list[UnitPlace], studies: StudiesById) -> AnsweredUnits:
    """Units grouped by study and layer, in their order."""
    groups = groupby(places, key=_layer_of)
    return [(studies[study], layer, [place.unit for place in group]) for (study, layer), group in groups]


def _layer_of(place: UnitPlace) -> tuple[str, str]:
    return place.study_id, place.layer


def _notices(studies: StudiesById) -> list[str]:
    """The different notices of the studies' data sets."""
    return list(dict.fromkeys(study.notice for study in studies.values() if study.notice))
