"""The unit browser: extractions, the units of a layer, and a page a unit.

It shows classes and statistics, which a study may withhold from its readers: where there are access tokens it asks for
the scope (see `auth.researcher`), and no page of a study leads to it.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from services.annotation.browsing import KINDS, RANKINGS, SORTS, Browse
from services.annotation.clients.extraction import Extraction, Layer, Unit, UnitsPart
from services.annotation.names import channel_of
from services.annotation.pages import links
from services.annotation.pages.distribution import distribution
from services.annotation.pages.frame import Frame
from services.annotation.pages.overview import Tab, page_of
from services.annotation.workflow.readers import Reader
from services.common.errors import NotFound

UNITS_A_PAGE = 24
PICTURES = 16
"""Top pictures that a unit's page shows at once; the others wait until they are asked for."""
EXAMPLES = 12
"""Patches of the sample that are shown, from the largest value to the least."""

SORT_WORDS = {
    "influence": "Influence on mammograms", "gradient": "Gradient × activation", "ablation": "Loss by ablation",
    "auc": "AUC of the class", "iou": "IoU", "maximum": "Largest activation", "mean": "Mean activation",
    "deviation": "Deviation", "active": "Share of active patches", "unit": "Number",
}  # fmt: skip
OWN_WORDS = {"influence": "Influence on patches", "selectivity": "Selectivity"}
KIND_WORDS = dict(zip(KINDS, ("Overlay", "Heat map", "Contour", "Crop", "Mammogram"), strict=True))


def routes(frame: Frame) -> APIRouter:
    """The routes of the unit browser."""
    router = APIRouter(include_in_schema=False)
    researcher = Annotated[Reader, Depends(frame.auth.researcher)]
    browse = Annotated[Browse, Query()]

    @router.get("/extractions")
    def extractions(request: Request, reader: researcher) -> Response:
        return frame.page("extractions.html", request, reader, extractions=frame.extraction.extractions())

    @router.get("/extractions/{extraction_id}")
    def extraction(request: Request, extraction_id: str, reader: researcher) -> Response:
        found = frame.extraction.extraction(extraction_id)
        facts: dict[str, Any] = {"layers": [_numbers(frame, found, layer) for layer in found.results]}
        return frame.page("extraction.html", request, reader, **facts, **_frame_of(frame, found))

    @router.get("/extractions/{extraction_id}/layers/{layer}")
    def units(request: Request, extraction_id: str, layer: str, reader: researcher, view: browse) -> Response:
        found = frame.extraction.extraction(extraction_id)
        page = page_of(request)
        answered = frame.responses.by_unit(extraction_id, layer)
        part = find(frame, found, layer, view, ((page - 1) * UNITS_A_PAGE, UNITS_A_PAGE), set(answered))
        facts: dict[str, Any] = {
            "layer": _layer(found, layer),
            "view": view,
            "part": part,
            "label": view.class_of(part.classes),
            "cards": [(unit, _studies(answered, layer, unit)) for unit in part.units],
            "tabs": _layer_tabs(found, layer, view),
            "sorts": [(name, _sort_words(part, name)) for name in SORTS if _sortable(part, name)],
            "kinds": KIND_WORDS,
            "page": page,
            "pages": max(1, -(-part.total // UNITS_A_PAGE)),
        }
        return frame.page("units.html", request, reader, **facts, **_frame_of(frame, found))

    @router.get("/extractions/{extraction_id}/layers/{layer}/units/{unit}")
    def unit(request: Request, extraction_id: str, layer: str, unit: str, reader: researcher, view: browse) -> Response:
        channel = channel_of(unit)
        found = frame.extraction.extraction(extraction_id)
        whole = frame.extraction.unit(extraction_id, layer, channel)
        answered = frame.responses.by_unit(extraction_id, layer)
        part = find(frame, found, layer, view, (0, 0), set(answered))
        facts: dict[str, Any] = {
            "layer": _layer(found, layer),
            "view": view,
            "unit": whole,
            "part": part,
            "label": view.class_of(found.classes),
            "around": _around(part.order, channel),
            "back": links.units(extraction_id, layer, view, _page_with(part.order, channel), channel),
            "studies": _studies(answered, layer, whole),
            "kinds": _kind_tabs(extraction_id, layer, channel, view),
            "distribution": distribution(whole),
            "ranks": _rank_rows(part, whole),
            "examples": _spread(whole.sample, EXAMPLES),
            "first": PICTURES,
        }
        return frame.page("unit.html", request, reader, **facts, **_frame_of(frame, found))

    @router.get("/unit-pictures/{extraction_id}/{layer}/{unit}/{source}/{rank:int}.webp")
    def picture(
        request: Request, extraction_id: str, layer: str, unit: str, source: str, rank: int, _: researcher
    ) -> Response:
        query = {**request.query_params, "from": source}
        known = request.headers.get("if-none-match", "")
        return frame.rendering.picture((extraction_id, layer, channel_of(unit)), f"pictures/{rank}.webp", query, known)

    @router.get("/unit-sheets/{extraction_id}/{layer}/{unit}.webp")
    def sheet(request: Request, extraction_id: str, layer: str, unit: str, _: researcher) -> Response:
        known = request.headers.get("if-none-match", "")
        query = dict(request.query_params)
        return frame.rendering.picture((extraction_id, layer, channel_of(unit)), "sheet.webp", query, known)

    return router


def find(
    frame: Frame, extraction: Extraction, layer: str, view: Browse, window: tuple[int, int], answered: set[int]
) -> UnitsPart:
    """A window (offset, limit) of what a view finds. Of answers only this service knows: it asks the extraction service
    for the order of all, and then for those of the window."""
    offset, limit = window
    where, query = (extraction.extraction_id, layer), view.query()
    if not view.labelled:
        return frame.extraction.units(*where, query | {"offset": offset, "limit": limit})
    whole = frame.extraction.units(*where, query | {"limit": 0})
    order = [unit for unit in whole.order if (unit in answered) == (view.labelled == "yes")]
    shown = order[offset : offset + limit]
    if shown:
        whole = frame.extraction.units(*where, query | {"among": shown, "limit": len(shown)})
    return whole.model_copy(update={"order": order, "total": len(order)})


def _frame_of(frame: Frame, extraction: Extraction) -> dict[str, Any]:
    return {"extraction": extraction, "withholding": frame.studies.withholding(extraction.extraction_id)}


def _layer(extraction: Extraction, name: str) -> Layer:
    found = next((layer for layer in extraction.results if layer.name == name), None)
    if found is None:
        raise NotFound(f"extraction {extraction.extraction_id} has no layer {name!r}")
    return found


def _numbers(frame: Frame, extraction: Extraction, layer: Layer) -> dict[str, Any]:
    """What the page of an extraction says of a layer."""
    where = extraction.extraction_id, layer.name
    part = frame.extraction.units(*where, {"sort": "auc", "limit": 1})
    best = part.units[0] if part.units else None
    return {
        "layer": layer,
        "silent": frame.extraction.units(*where, {"silent": "true", "limit": 0}).total,
        "answered": len(frame.responses.by_unit(*where)),
        "best": best,
        "auc": best.auc_by_class[-1] if best is not None else None,
    }


def _studies(answered: dict[int, list[tuple[str, int]]], layer: str, unit: Unit) -> list[tuple[str, int]]:
    """Addresses of overviews of the studies in which a unit was answered, and how often."""
    return [(links.overview_at(study_id, layer, unit.unit), count) for study_id, count in answered.get(unit.unit, [])]


def _layer_tabs(extraction: Extraction, layer: str, view: Browse) -> list[Tab]:
    """Links to the other layers; an analysis may not have looked at them, and a search was of this one."""
    sort = "own" if view.sort in (*RANKINGS, "iou") else view.sort
    there = view.model_copy(update={"sort": sort, "search": ""})
    return [
        Tab(one.name, links.units(extraction.extraction_id, one.name, there), one.name == layer)
        for one in extraction.results
    ]


def _kind_tabs(extraction_id: str, layer: str, unit: int, view: Browse) -> list[Tab]:
    return [
        Tab(words, links.unit(extraction_id, layer, unit, view.model_copy(update={"kind": kind})), kind == view.kind)
        for kind, words in KIND_WORDS.items()
    ]


def _sortable(part: UnitsPart, sort: str) -> bool:
    return part.dissected if sort == "iou" else sort in part.rankings or sort not in RANKINGS


def _sort_words(part: UnitsPart, sort: str) -> str:
    return OWN_WORDS.get(part.ranking_method, part.ranking_method) if sort == "own" else SORT_WORDS[sort]


def _rank_rows(part: UnitsPart, unit: Unit) -> list[tuple[str, list[Any]]]:
    """The rankings in words, each with the unit's rank for every class, or None."""
    ranks = {(rank.ranking, rank.label): rank for rank in unit.ranks}
    return [
        (_sort_words(part, name), [ranks.get((name, label)) for label in range(len(part.classes))])
        for name in part.rankings
    ]


def _around(order: list[int], unit: int) -> dict[str, int | None]:
    """Position of a unit in a list, from 1 (0 if it is not there), and the units before and after it."""
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


def _spread(items: list[Any], count: int) -> list[Any]:
    """At most `count` of some items, evenly from the first to the last."""
    if len(items) <= count:
        return items
    return [items[round(at * (len(items) - 1) / (count - 1))] for at in range(count)]
