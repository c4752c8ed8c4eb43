"""The unit browser: all extractions, the layers of one, the units of a layer, and the page of a unit.

It shows classes and statistics, which a study may withhold from its readers. So it requires a scope of the access token
if the service has tokens (see `auth.researcher`), and no page of a study links to it.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from primitives.activation_extraction.v1.activation_extraction_pb2 import (
    Extraction,
    ExtractionLayer,
    ListUnitsResponse,
    Unit,
    UnitRank,
)
from starlette.responses import Response

from services.annotation.browsing import KINDS, RANKINGS, SORTS, Browse
from services.annotation.pages import links
from services.annotation.pages.distribution import distribution
from services.annotation.pages.frame import Frame
from services.annotation.pages.links import channel_of, number_of
from services.annotation.pages.overview import Tab, page_of, pages_of, window_of_page
from services.annotation.workflow.readers import Reader
from services.common.errors import NotFound
from services.common.redaction import quoted

EXTRACTIONS_A_PAGE = 100
UNITS_A_PAGE = 24
PICTURES = 16
"""Top pictures that a unit's page shows at once; the reader can unfold the others."""
EXAMPLES = 12
"""Sample patches that are shown, evenly spread from the largest activation to the smallest."""

SORT_WORDS = {
    "influence": "Influence on mammograms", "gradient": "Gradient × activation", "ablation": "Loss by ablation",
    "auc": "AUC of the class", "iou": "IoU", "maximum": "Largest activation", "mean": "Mean activation",
    "deviation": "Deviation", "active": "Share of active patches", "unit": "Number",
}  # fmt: skip
OWN_WORDS = {"influence": "Influence on patches", "selectivity": "Selectivity"}
KIND_WORDS = dict(zip(KINDS, ("Overlay", "Heat map", "Contour", "Crop", "Mammogram"), strict=True))

UnitKey = tuple[str, str, int]
"""Extraction, layer, channel."""
AnsweredUnits = dict[int, list[tuple[str, int]]]
"""By channel: the studies in which the unit was answered, each with the number of answers."""
PICTURE_FIELDS = ("kind", "size")
SHEET_FIELDS = (*PICTURE_FIELDS, "first", "count")
Source = Literal["top", "sample"]
T = TypeVar("T")


def routes(frame: Frame) -> APIRouter:
    """The routes of the unit browser."""
    router = APIRouter(include_in_schema=False)
    router.include_router(_list_routes(frame))
    router.include_router(_unit_routes(frame))
    router.include_router(_picture_routes(frame))
    return router


def _list_routes(frame: Frame) -> APIRouter:
    router = APIRouter()
    researcher = Annotated[Reader, Depends(frame.auth.researcher)]

    @router.get("/extractions")
    def extractions(request: Request, reader: researcher) -> Response:
        page = page_of(request)
        part = frame.extraction.extractions(window_of_page(page, EXTRACTIONS_A_PAGE))
        pages = pages_of(part.total, EXTRACTIONS_A_PAGE)
        context: dict[str, Any] = {"extractions": part.extractions, "total": part.total, "page": page, "pages": pages}
        return frame.page("extractions.html", request, reader, **context)

    @router.get("/extractions/{extraction_id}")
    def extraction(request: Request, extraction_id: str, reader: researcher) -> Response:
        found = frame.extraction.extraction(extraction_id)
        answered = frame.responses.answered_in_layers(reader, extraction_id)
        layers = [_layer_context(frame, found, layer, answered.get(layer.name, 0)) for layer in found.results]
        context: dict[str, Any] = {"layers": layers}
        return frame.page("extraction.html", request, reader, **context, **_extraction_context(frame, reader, found))

    @router.get("/extractions/{extraction_id}/layers/{layer}")
    def units(
        request: Request, extraction_id: str, layer: str, reader: researcher, view: Annotated[Browse, Query()]
    ) -> Response:
        found = frame.extraction.extraction(extraction_id)
        page = page_of(request)
        answered = frame.responses.by_unit(reader, extraction_id, layer)
        part = find(frame, found, layer, view, ((page - 1) * UNITS_A_PAGE, UNITS_A_PAGE), set(answered))
        context: dict[str, Any] = {
            "layer": _layer(found, layer),
            "view": view,
            "part": part,
            "label": view.class_of(part.classes),
            "cards": [(unit, _study_links(answered, layer, unit.unit)) for unit in part.units],
            "tabs": _layer_tabs(found, layer, view),
            "sorts": [(name, _sort_words(part, name)) for name in SORTS if _sortable(part, name)],
            "kinds": KIND_WORDS,
            "page": page,
            "pages": pages_of(part.total, UNITS_A_PAGE),
        }
        return frame.page("units.html", request, reader, **context, **_extraction_context(frame, reader, found))

    return router


def _unit_routes(frame: Frame) -> APIRouter:
    router = APIRouter()
    researcher = Annotated[Reader, Depends(frame.auth.researcher)]

    @router.get("/extractions/{extraction_id}/layers/{layer}/units/{unit}")
    def unit(
        request: Request,
        reader: researcher,
        key: Annotated[UnitKey, Depends(unit_key)],
        view: Annotated[Browse, Query()],
    ) -> Response:
        extraction_id, layer, channel = key
        extraction = frame.extraction.extraction(extraction_id)
        found = frame.extraction.unit(*key)
        answered = frame.responses.by_unit(reader, extraction_id, layer)
        part = find(frame, extraction, layer, view, (0, 0), set(answered))
        order = list(part.order)
        detection = frame.scores.of_units(extraction_id, layer, [channel])
        context: dict[str, Any] = {
            "detection": detection.get(channel),
            "layer": _layer(extraction, layer),
            "view": view,
            "unit": found,
            "part": part,
            "label": view.class_of(extraction.classes),
            "around": _around(order, channel),
            "back": links.units(extraction_id, layer, view, _page_with(order, channel), channel),
            "studies": _study_links(answered, layer, channel),
            "kinds": _kind_tabs(key, view),
            "distribution": distribution(found),
            "ranks": _rank_rows(part, found),
            "examples": _spread(found.sample, EXAMPLES),
            "first": PICTURES,
        }
        return frame.page("unit.html", request, reader, **context, **_extraction_context(frame, reader, extraction))

    return router


def _picture_routes(frame: Frame) -> APIRouter:
    router = APIRouter()
    researcher = Annotated[Reader, Depends(frame.auth.researcher)]
    key_in_path = Annotated[UnitKey, Depends(unit_key)]

    @router.get("/unit-pictures/{extraction_id}/{layer}/{unit}/{source}/{rank}.webp")
    async def picture(request: Request, _: researcher, key: key_in_path, source: Source, rank: str) -> Response:
        query = _drawing(request, PICTURE_FIELDS) | {"from": source}
        return await frame.rendering.picture(key, f"pictures/{number_of(rank)}.webp", query, _known_etag(request))

    @router.get("/unit-sheets/{extraction_id}/{layer}/{unit}.webp")
    async def sheet(request: Request, _: researcher, key: key_in_path) -> Response:
        return await frame.rendering.picture(key, "sheet.webp", _drawing(request, SHEET_FIELDS), _known_etag(request))

    return router


def unit_key(extraction_id: str, layer: str, unit: str) -> UnitKey:
    """The unit that a path names."""
    return extraction_id, layer, channel_of(unit)


def find(
    frame: Frame, extraction: Extraction, layer: str, view: Browse, window: tuple[int, int], answered: set[int]
) -> ListUnitsResponse:
    """The units that a view selects, with details of those in a window (offset, limit).

    Only this service knows which units are answered. To filter by that, it requests the order of all units, filters it,
    and then requests the units of the window.
    """
    offset, limit = window
    where, query = (extraction.extraction_id, layer), view.query()
    if not view.labelled:
        return frame.extraction.units(*where, query | {"offset": offset, "limit": limit})
    part = frame.extraction.units(*where, query | {"limit": 0})
    order = [unit for unit in part.order if (unit in answered) == (view.labelled == "yes")]
    shown = order[offset : offset + limit]
    if shown:
        part = frame.extraction.units(*where, query | {"among": shown, "limit": len(shown)})
    part.order[:] = order
    part.total = len(order)
    return part


def _extraction_context(frame: Frame, reader: Reader, extraction: Extraction) -> dict[str, Any]:
    return {"extraction": extraction, "withholding": frame.studies.withholding(reader, extraction.extraction_id)}


def _layer(extraction: Extraction, name: str) -> ExtractionLayer:
    found = next((layer for layer in extraction.results if layer.name == name), None)
    if found is None:
        raise NotFound(f"extraction {extraction.extraction_id} has no layer {quoted(name)}")
    return found


def _layer_context(frame: Frame, extraction: Extraction, layer: ExtractionLayer, answered: int) -> dict[str, Any]:
    """The row of a layer on the page of an extraction."""
    where = extraction.extraction_id, layer.name
    part = frame.extraction.units(*where, {"sort": "auc", "limit": 1})
    best = part.units[0] if part.units else None
    return {
        "layer": layer,
        "silent": frame.extraction.units(*where, {"silent": "true", "limit": 0}).total,
        "answered": answered,
        "best": best,
        "auc": best.auc_by_class[-1] if best is not None else None,
    }


def _study_links(answered: AnsweredUnits, layer: str, unit: int) -> list[tuple[str, int]]:
    """For each study in which a unit was answered: the address of its overview, and the number of answers."""
    return [(links.overview_at(study_id, layer, unit), count) for study_id, count in answered.get(unit, [])]


def _layer_tabs(extraction: Extraction, layer: str, view: Browse) -> list[Tab]:
    """Links to all layers. They drop the search, and a sort order of an analysis, which may not cover the layer."""
    sort = "own" if view.sort in (*RANKINGS, "iou") else view.sort
    target = view.model_copy(update={"sort": sort, "search": ""})
    return [
        Tab(one.name, links.units(extraction.extraction_id, one.name, target), one.name == layer)
        for one in extraction.results
    ]


def _kind_tabs(key: UnitKey, view: Browse) -> list[Tab]:
    return [
        Tab(words, links.unit(*key, view.model_copy(update={"kind": kind})), kind == view.kind)
        for kind, words in KIND_WORDS.items()
    ]


def _sortable(part: ListUnitsResponse, sort: str) -> bool:
    return part.dissected if sort == "iou" else sort in part.rankings or sort not in RANKINGS


def _sort_words(part: ListUnitsResponse, sort: str) -> str:
    return OWN_WORDS.get(part.ranking_method, part.ranking_method) if sort == "own" else SORT_WORDS[sort]


def _rank_rows(part: ListUnitsResponse, unit: Unit) -> list[tuple[str, list[UnitRank | None]]]:
    """The rankings in words, each with the unit's rank for every class; None where it has no rank."""
    ranks = {(rank.ranking, rank.label): rank for rank in unit.ranks}
    return [
        (_sort_words(part, name), [ranks.get((name, label)) for label in range(len(part.classes))])
        for name in part.rankings
    ]


def _around(order: list[int], unit: int) -> dict[str, int | None]:
    """The position of a unit in a list, from 1 (0 if it is not in the list), and the units before and after it."""
    if unit not in order:
        return {"position": 0, "total": len(order), "previous": None, "next": None}
    at = order.index(unit)
    return {
        "position": at + 1,
        "total": len(order),
        "previous": order[at - 1] if at > 0 else None,
        "next": order[at + 1] if at + 1 < len(order) else None,
    }


def _page_with(order: list[int], unit: int) -> int:
    return order.index(unit) // UNITS_A_PAGE + 1 if unit in order else 1


def _drawing(request: Request, fields: Sequence[str]) -> dict[str, str]:
    """The fields of the query string that say how to draw a picture. The rendering service checks their values."""
    return {name: request.query_params[name] for name in fields if name in request.query_params}


def _known_etag(request: Request) -> str:
    return request.headers.get("if-none-match", "")


def _spread(items: Sequence[T], count: int) -> Sequence[T]:
    """At most `count` of some items, evenly spread from the first to the last."""
    if len(items) <= count:
        return items
    return [items[round(at * (len(items) - 1) / (count - 1))] for at in range(count)]
