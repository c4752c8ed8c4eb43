"""The HTTP side of the patch rendering service."""

from typing import Annotated

from fastapi import APIRouter, FastAPI, Header, Path, Query, Response

from services.common.http.idempotency import StartKey
from services.common.http.plan_routes import add_plan_routes
from services.common.http.streams import Streams
from services.common.http.task_routes import TaskRoutes
from services.common.work.plan_options import PictureFormat
from services.imaging.media import MEDIA_TYPES, media_type
from services.imaging.units import UnitName, unit_channel
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
"""A URL identifies immutable content, so a picture never expires. Only the caller's own cache may store it."""

PICTURES: dict[int | str, dict[str, object]] = {
    200: {"content": {kind: {} for kind in MEDIA_TYPES.values()}},
    304: {"description": "The caller has the picture already."},
}

Unit = Annotated[
    UnitName | int,
    Path(description="The unit's name, such as `unit_0001`. A bare number is its channel, from 0."),
]


def add_routes(
    app: FastAPI, renderings: Renderings, queries: Queries, pictures: UnitPictures, streams: Streams
) -> None:
    """Add the routes of version 1."""
    router = APIRouter(prefix="/v1")

    @router.post("/renderings", status_code=202, tags=["renderings"])
    def start_rendering(request: StartRenderingRequest, key: StartKey) -> RenderingView:
        """Render all layers of a completed extraction."""
        return queries.get(renderings.start(request, key))

    routes = TaskRoutes("rendering", "renderings", RenderingView, queries.get, renderings.act, streams)
    routes.add_list(router, RenderingList, queries.all)
    routes.add(router)

    @router.get(
        "/renderings/{rendering_id}/layers/{layer}/units/{unit}/pictures/{rank}.jpg",
        tags=["pictures"],
        response_class=Response,
        responses={200: PICTURES[200]},
    )
    def get_picture(rendering_id: str, layer: str, unit: Unit, rank: int) -> Response:
        """One picture of a unit, with ranks from 1. Rank 0 is the contact sheet."""
        content = queries.picture(rendering_id, layer, unit_channel(unit), rank)
        return Response(content, media_type=media_type(content))

    add_unit_routes(router, pictures)
    add_plan_routes(router, queries.plan, renderings.act_on_plan, streams)

    app.include_router(router)


def add_unit_routes(router: APIRouter, pictures: UnitPictures) -> None:
    """Add the routes of pictures that are drawn on request."""

    def draw(request: UnitPictureRequest | UnitSheetRequest, cached: str) -> Response:
        found = pictures.find(request)
        headers = {"etag": found.etag, "cache-control": CACHING}
        if found.etag in cached:
            return Response(status_code=304, headers=headers)
        return Response(pictures.draw(found), media_type=found.media_type, headers=headers)

    # The parameters are those of the path, the query and the headers.
    @router.get(
        "/extractions/{extraction_id}/layers/{layer}/units/{unit}/pictures/{rank}.{format}",
        tags=["pictures"],
        response_class=Response,
        responses=PICTURES,
    )
    # FastAPI reads the path, the query and a header from the parameters.
    def get_unit_picture(
        extraction_id: str,
        layer: str,
        unit: Unit,
        rank: int,
        format: PictureFormat,
        query: Annotated[PictureQuery, Query()],
        if_none_match: Annotated[str, Header()] = "",
    ) -> Response:
        """One picture of a unit of a completed extraction, drawn on request.

        A unit that is nowhere active has no map to show: its overlays are dimmed everywhere, and its heat maps and
        contours show the unchanged patch."""
        path = {
            "extraction_id": extraction_id,
            "layer": layer,
            "unit": unit_channel(unit),
            "rank": rank,
            "format": format,
        }
        return draw(UnitPictureRequest.model_validate(query.model_dump() | path), if_none_match)

    @router.get(
        "/extractions/{extraction_id}/layers/{layer}/units/{unit}/sheet.{format}",
        tags=["pictures"],
        response_class=Response,
        responses=PICTURES,
    )
    def get_unit_sheet(
        extraction_id: str,
        layer: str,
        unit: Unit,
        format: PictureFormat,
        query: Annotated[SheetQuery, Query()],
        if_none_match: Annotated[str, Header()] = "",
    ) -> Response:
        """Pictures of a unit of a completed extraction in rows of 8, drawn on request."""
        path = {"extraction_id": extraction_id, "layer": layer, "unit": unit_channel(unit), "format": format}
        return draw(UnitSheetRequest.model_validate(query.model_dump() | path), if_none_match)
