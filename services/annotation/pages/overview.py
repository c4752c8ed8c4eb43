"""The overview of a layer: one row of eight pictures for each unit."""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from services.annotation.api import place_of
from services.annotation.pages import links
from services.annotation.pages.frame import Frame
from services.annotation.pages.links import UNITS_A_PAGE, channel_of
from services.annotation.schemas import LayerView, Place, StudyView
from services.annotation.workflow.readers import Reader
from services.common.errors import NotFound
from services.common.paging import Window
from services.common.redaction import quoted


@dataclass(frozen=True)
class Tab:
    """A link in a group; one link of the group is the current choice."""

    text: str
    href: str
    chosen: bool


def routes(frame: Frame) -> APIRouter:
    """The route of the overview."""
    router = APIRouter(include_in_schema=False)

    @router.get("/studies/{study_id}/layers/{layer}")
    def overview(
        request: Request,
        study_id: str,
        layer: str,
        reader: Annotated[Reader, Depends(frame.auth.page_reader)],
        place: Annotated[Place, Depends(place_of)],
    ) -> Response:
        page = page_of(request)
        study = frame.studies.get(study_id, reader)
        place = default_class(study, place)
        window = ((page - 1) * UNITS_A_PAGE, UNITS_A_PAGE)
        part = frame.units.part(reader, study_id, layer, place, window)
        pages = pages_of(part.total, UNITS_A_PAGE)
        context: dict[str, Any] = {"study": study, "layer": layer_of(study, layer), "place": place, "part": part}
        context |= {"tabs": _tabs(study, layer, place), "page": page, "pages": pages}
        saved = saved_of(frame, request, reader, study_id, layer)
        return frame.page("overview.html", request, reader, saved=saved, **context)

    return router


def page_of(request: Request) -> int:
    """The page number in the query string; 1 if it is not a number."""
    number = re.fullmatch("[1-9][0-9]{0,5}", request.query_params.get("page", "1"))
    return int(number[0]) if number else 1


def window_of_page(page: int, size: int) -> Window:
    """The items of a page, with pages from 1."""
    return Window(offset=(page - 1) * size, limit=size)


def pages_of(total: int, size: int) -> int:
    """The number of pages that a list has; an empty list has one."""
    return max(1, -(-total // size))


def default_class(study: StudyView, place: Place) -> Place:
    """The place with the last class filled in, if it is the ranked list without a class and the reader sees ranks."""
    if place.list == "ranked" and not study.ranks_shown:
        return place.model_copy(update={"label": None})
    if place.list == "ranked" and place.label is None:
        return place.model_copy(update={"label": len(study.classes) - 1})
    return place


def layer_of(study: StudyView, name: str) -> LayerView:
    """A layer of a study. NotFound if it does not exist."""
    found = next((layer for layer in study.layers if layer.name == name), None)
    if found is None:
        raise NotFound(f"study {study.study_id} has no layer {quoted(name)}")
    return found


def saved_of(frame: Frame, request: Request, reader: Reader, study_id: str, layer: str) -> object:
    """The answer that the query string calls saved; None unless it really is, since anyone can write an address."""
    name = request.query_params.get("saved", "")
    if not name:
        return None
    try:
        return frame.responses.one(reader, (study_id, layer, min(channel_of(name), 2**31 - 1)))
    except NotFound:
        return None


def _tabs(study: StudyView, layer: str, place: Place) -> dict[str, list[Tab]]:
    """The groups of links above the rows: lists, filters, and classes or orders."""

    def tab(text: str, **changes: object) -> Tab:
        target = place.model_copy(update=changes)
        chosen = all(getattr(place, name) == value for name, value in changes.items())
        return Tab(text, links.overview(study.study_id, layer, default_class(study, target)), chosen)

    def list_tab(text: str, name: str) -> Tab:
        target = default_class(study, Place.model_validate({"list": name}))
        return Tab(text, links.overview(study.study_id, layer, target), place.list == name)

    tabs = {
        "List": [list_tab("Subset", "subset"), list_tab("Ranked", "ranked"), list_tab("All units", "all")],
        "Show": [tab("All", filter="all"), tab("Unanswered", filter="unanswered"), tab("Answered", filter="answered")],
    }
    if place.list == "ranked" and study.ranks_shown:
        tabs["Ranked for"] = [tab(name, label=label) for label, name in reversed(list(enumerate(study.classes)))]
    elif study.labels_shown == "always":
        tabs["Order"] = [tab("By unit", sort="unit"), tab(f"Most {study.classes[-1]} first", sort="class")]
    return tabs
