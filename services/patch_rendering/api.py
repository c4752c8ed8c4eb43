"""The HTTP side of the patch rendering service."""

from typing import Annotated

from fastapi import APIRouter, FastAPI, Header, Query, Request, Response

from services.common.http.plan_routes import add_plan_routes
from services.common.http.streams import EventStream, Streams
from services.common.work.tasks import Verb
from services.common.work.plan_options import PictureFormat
from services.common.work.views import has_ended
from services.imaging.media import MEDIA_TYPES, media_type
from services.patch_rendering.schemas import (
    PictureQuery,
    RenderingList,
    RenderingView,
    SheetQuery,
    StartRenderingRequest,
    UnitPictureRequest,
    UnitSheetRequest,
)
from services.patch_rendering.workflow.pictures import UnitPictures
from services.patch_rendering.workflow.queries import Queries
from services.patch_rendering.workflow.renderings import Renderings

CACHING = "private, max-age=31536000, immutable"
"""An address names immutable things alone; no cache but the caller's own keeps pictures."""

PICTURES: dict[int | str, dict[str, object]] = {
    200: {"content": {kind: {} for kind in MEDIA_TYPES.values()}},
    304: {"description": "The caller has the picture already."},
}


def add_routes(
    app: FastAPI, renderings: Renderings, queries: Queries, pictures: UnitPictures, streams: Streams
) -> None:
    """Add the routes of version 1."""
    router = APIRouter(prefix="/v1")

    @router.post("/renderings", status_code=202, tags=["renderings"])
    def start_rendering(request: StartRenderingRequest) -> RenderingView:
        """Render all layers of a completed extraction."""
        return queries.get(renderings.start(request))

    @router.get("/renderings", tags=["renderings"])
    def list_renderings() -> RenderingList:
        """All renderings, newest first."""
        return queries.all()

    @router.get("/renderings/{rendering_id}", tags=["renderings"])
    def get_rendering(rendering_id: str) -> RenderingView:
        """One rendering."""
        return queries.get(rendering_id)

    @router.post("/renderings/{rendering_id}/{verb}", status_code=202, tags=["renderings"])
    def act_on_rendering(rendering_id: str, verb: Verb) -> RenderingView:
        """Pause, resume or cancel; a job at work on it stops within five seconds. What is done is kept."""
        renderings.act(verb, rendering_id)
        return queries.get(rendering_id)

    @router.get("/renderings/{rendering_id}/events", response_class=EventStream, tags=["renderings"])
    def watch_rendering(rendering_id: str, request: Request) -> Response:
        """Server-sent events: the rendering, again whenever it has changed, until it has ended."""
        return streams.events(request, lambda: queries.get(rendering_id), has_ended)

    @router.get(
        "/renderings/{rendering_id}/layers/{layer}/units/{unit}/pictures/{rank}.jpg",
        tags=["pictures"],
        response_class=Response,
        responses={200: PICTURES[200]},
    )
    def get_picture(rendering_id: str, layer: str, unit: int, rank: int) -> Response:
        """One picture of a unit (channel from 0), rank from 1; rank 0 is the contact sheet."""
        content = queries.picture(rendering_id, layer, unit, rank)
        return Response(content, media_type=media_type(content))

    def drawn(request: UnitPictureRequest | UnitSheetRequest, known: str) -> Response:
        wanted = pictures.look_up(request)
        headers = {"etag": wanted.etag, "cache-control": CACHING}
        if wanted.etag in known:
            return Response(status_code=304, headers=headers)
        return Response(pictures.draw(wanted), media_type=wanted.media_type, headers=headers)

    @router.get(
        "/extractions/{extraction_id}/layers/{layer}/units/{unit}/pictures/{rank}.{format}",
        tags=["pictures"],
        response_class=Response,
        responses=PICTURES,
    )
    def get_unit_picture(
        extraction_id: str,
        layer: str,
        unit: int,
        rank: int,
        format: PictureFormat,
        query: Annotated[PictureQuery, Query()],
        if_none_match: Annotated[str, Header()] = "",
    ) -> Response:
        """One picture of a unit (channel from 0) of a completed extraction, drawn now. A unit that is active
        nowhere has no map to show: its overlays are dimmed all over, heat maps and contours are the patch as it is."""
        named = {"extraction_id": extraction_id, "layer": layer, "unit": unit, "rank": rank, "format": format}
        return drawn(UnitPictureRequest.model_validate(query.model_dump() | named), if_none_match)

    @router.get(
        "/extractions/{extraction_id}/layers/{layer}/units/{unit}/sheet.{format}",
        tags=["pictures"],
        response_class=Response,
        responses=PICTURES,
    )
    def get_unit_sheet(
        extraction_id: str,
        layer: str,
        unit: int,
        format: PictureFormat,
        query: Annotated[SheetQuery, Query()],
        if_none_match: Annotated[str, Header()] = "",
    ) -> Response:
        """Pictures of a unit (channel from 0) of a completed extraction in rows of 8, drawn now."""
        named = {"extraction_id": extraction_id, "layer": layer, "unit": unit, "format": format}
        return drawn(UnitSheetRequest.model_validate(query.model_dump() | named), if_none_match)

    add_plan_routes(router, queries.plan, renderings.act_on_plan, streams)

    app.include_router(router)
