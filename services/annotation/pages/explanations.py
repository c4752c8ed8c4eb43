"""Explanations of mammograms: a form that takes the file, and the page of an explanation in the words of readers.

They show classes, and the names that readers gave units, so they are for researchers, as the unit browser is.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from primitives.activation_extraction.v1.explanation_pb2 import ExplanationResult, ExplanationTile
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.responses import Response

from services.annotation.explanations.schemas import ExplainRequest
from services.annotation.explanations.wording import FLOOR
from services.annotation.pages import links
from services.annotation.pages.forms import Line, SentForm, new_key
from services.annotation.pages.frame import Frame, redirect
from services.annotation.pages.overview import page_of, pages_of, window_of_page
from services.annotation.workflow.readers import Reader
from services.common.errors import InvalidInput, PrimitivesError
from services.common.http.app import status_of
from services.common.observability.logs import get_logger
from services.common.work.views import has_ended

EXPLANATIONS_A_PAGE = 50
MOST_FIELDS = 20
CELLS = 128
"""Most edges of the probability map along a side."""

log = get_logger(__name__)


class ExplainForm(SentForm):
    """The form that explains a mammogram. An empty class is the predicted one."""

    layer: Line = ""
    class_name: Line = ""
    units: Annotated[int, Field(ge=1, le=100)] = 20


def routes(frame: Frame) -> APIRouter:
    """The routes of explanations."""
    router = APIRouter(include_in_schema=False)
    researcher = Annotated[Reader, Depends(frame.auth.researcher)]

    def form_page(
        request: Request, reader: Reader, extraction_id: str, error: PrimitivesError | None = None
    ) -> Response:
        extraction = frame.extraction.extraction(extraction_id)
        names = {layer.name: len(frame.worded.names(extraction_id, layer.name).names) for layer in extraction.results}
        context: dict[str, Any] = {
            "extraction": extraction,
            "withholding": frame.studies.withholding(reader, extraction_id),
            "named": names,
            "key": new_key(),
            "trouble": str(error) if error is not None else "",
        }
        return frame.page("explain.html", request, reader, status_of(error) if error is not None else 200, **context)

    def start(extraction_id: str, form: ExplainForm, content: bytes) -> str:
        uploaded = frame.extraction.upload_mammogram(content)
        wanted = ExplainRequest(
            extraction_id=extraction_id,
            mammogram=uploaded.sha256,
            layer=form.layer,
            class_name=form.class_name,
            units=form.units,
        )
        return frame.worded.start(wanted, form.key).explanation_id

    @router.get("/extractions/{extraction_id}/explain")
    def explain(request: Request, extraction_id: str, reader: researcher) -> Response:
        return form_page(request, reader, extraction_id)

    @router.post("/extractions/{extraction_id}/explain")
    async def send(request: Request, extraction_id: str, reader: researcher) -> Response:
        # The body is read only here, after the reader is known: it may have 128 MiB.
        async with request.form(max_files=1, max_fields=MOST_FIELDS) as sent:
            frame.auth.check_control(request, "activation_extraction", str(sent.get("csrf", "")))
            file = sent.get("mammogram")
            content = await file.read() if isinstance(file, UploadFile) else b""
            try:
                if not content:
                    raise InvalidInput("choose the file of a mammogram first")
                form = ExplainForm.read(sent)
                explanation_id = await run_in_threadpool(start, extraction_id, form, content)
            except PrimitivesError as error:
                return await run_in_threadpool(form_page, request, reader, extraction_id, error)
        log.info("explanation started on a page", task=explanation_id, reader=reader.name)
        return redirect(links.explanation(explanation_id))

    @router.get("/explanations")
    def explanations(request: Request, reader: researcher) -> Response:
        page = page_of(request)
        part = frame.extraction.explanations(window_of_page(page, EXPLANATIONS_A_PAGE))
        pages = pages_of(part.total, EXPLANATIONS_A_PAGE)
        context: dict[str, Any] = {"explanations": part.explanations, "total": part.total, "page": page, "pages": pages}
        return frame.page("explanations.html", request, reader, **context)

    @router.get("/explanations/{explanation_id}")
    def explanation(request: Request, explanation_id: str, reader: researcher) -> Response:
        task = frame.extraction.explanation(explanation_id)
        context: dict[str, Any] = {"task": task, "ended": has_ended(task), "found": None}
        if task.state == "completed":
            result, words = frame.worded.get(explanation_id)
            extraction = frame.extraction.extraction(result.extraction_id)
            context |= {"found": result, "words": words, "extraction": extraction, "floor": FLOOR}
            context |= {"cells": probability_map(result), "tile": result.tiles[result.tile].box}
            context["withholding"] = frame.studies.withholding(reader, result.extraction_id)
        return frame.page("explanation.html", request, reader, **context)

    @router.get("/explanations/{explanation_id}/picture.jpg")
    def picture(explanation_id: str, _: researcher, preview: bool = False) -> Response:
        return frame.extraction.explanation_picture(explanation_id, preview)

    @router.get("/explanations/{explanation_id}/events")
    async def events(request: Request, explanation_id: str, _: researcher) -> Response:
        return await frame.extraction.explanation_events(explanation_id, request.headers.get("last-event-id", ""))

    return router


def probability_map(result: ExplanationResult) -> list[tuple[int, int, int, int, float]]:
    """Row, column, height, width and probability of the explained class for every cell between the edges of tiles: the
    mean over the tiles that contain the cell. Cells in no tile are left out."""
    class_ = list(result.classes).index(result.class_name)
    rows = _edges(result.tiles, lambda box: (box.row, box.row + box.height))
    columns = _edges(result.tiles, lambda box: (box.column, box.column + box.width))
    cells = []
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            covering = [tile.probabilities[class_] for tile in result.tiles if _contains(tile, top, left)]
            if covering:
                cells.append((top, left, bottom - top, right - left, round(sum(covering) / len(covering), 3)))
    return cells


def _edges(tiles: Sequence[ExplanationTile], of_box: Any) -> list[int]:
    edges = sorted({edge for tile in tiles for edge in of_box(tile.box)})
    step = -(-len(edges) // CELLS)
    return edges[::step]


def _contains(tile: ExplanationTile, row: int, column: int) -> bool:
    box = tile.box
    return box.row <= row < box.row + box.height and box.column <= column < box.column + box.width
