"""The HTTP API of the pictures of readings. They name neither the unit nor the patch."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi import Path as InPath
from starlette.responses import Response

from services.annotation.auth import Auth
from services.annotation.picture_responses import image_response, png_response
from services.annotation.sources import Region
from services.annotation.workflow.readers import Reader
from services.annotation.workflow.readings import Readings
from services.imaging.media import MEDIA_TYPES

PatchNumber = Annotated[int, InPath(ge=1, le=64, description="Number of the patch, from 1.")]
MammogramNumber = Annotated[int, InPath(ge=0, lt=2**31, description="Number of the mammogram.")]
RegionText = Annotated[
    str, Query(max_length=40, description="row-column-height-width in pixels; the whole mammogram if it is absent.")
]
PICTURE: dict[int | str, dict[str, object]] = {200: {"content": {kind: {} for kind in MEDIA_TYPES.values()}}}
SOURCE: dict[int | str, dict[str, object]] = {200: {"content": {"image/png": {}}}}


def reading_picture_routes(auth: Auth, readings: Readings) -> APIRouter:
    """The routes of the pictures of readings."""
    router = APIRouter(prefix="/v1/readings/{reading_id}", tags=["readings"], default_response_class=Response)
    api_reader = Annotated[Reader, Depends(auth.api_reader)]

    @router.get("/patches/{number}/picture", responses=PICTURE)
    def get_picture_of_patch(reading_id: str, number: PatchNumber, reader: api_reader) -> Response:
        """The picture of a patch as the page shows it, with the unit's activation."""
        return image_response(readings.picture(reader, reading_id, number))

    @router.get("/patches/{number}/source", responses=SOURCE)
    def get_source_of_patch(reading_id: str, number: PatchNumber, reader: api_reader) -> Response:
        """A patch as the data set stores it: a grey PNG of 8 or 16 bits. 404 if its `has_source` is false."""
        return png_response(readings.source(reader, reading_id, number))

    @router.get("/mammograms/{number}/picture", responses=PICTURE)
    def get_preview_of_mammogram(reading_id: str, number: MammogramNumber, reader: api_reader) -> Response:
        """The preview of a full mammogram."""
        return image_response(readings.mammogram(reader, reading_id, number))

    @router.get("/mammograms/{number}/source", responses=SOURCE)
    def get_source_of_mammogram(
        reading_id: str, number: MammogramNumber, reader: api_reader, region: RegionText = ""
    ) -> Response:
        """A region of a full mammogram: a grey PNG of 8 or 16 bits, shrunk if it is longer than 1,100 pixels. 404 if
        its `has_source` is false."""
        return png_response(readings.region(reader, reading_id, number, Region.parse(region)))

    return router
