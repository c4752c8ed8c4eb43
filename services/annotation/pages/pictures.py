"""Pictures and sources of units and mammograms. Keys of objects come from our tables, never from an address."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from services.annotation.pages.frame import Frame
from services.annotation.pages.links import channel_of, number_of
from services.annotation.picture_responses import grey_response, image_response
from services.annotation.sources import Region
from services.annotation.workflow.readers import Reader


def routes(frame: Frame) -> APIRouter:
    """The routes of pictures."""
    router = APIRouter(include_in_schema=False)
    signed_in = Annotated[Reader, Depends(frame.auth.page_reader)]

    @router.get("/pictures/{study_id}/{layer}/{unit}/{rank}.jpg")
    def picture(study_id: str, layer: str, unit: str, rank: str, reader: signed_in) -> Response:
        return image_response(frame.units.picture(reader, (study_id, layer, channel_of(unit)), number_of(rank)))

    @router.get("/pictures/{study_id}/{layer}/{unit}/{rank}.grey")
    def source(study_id: str, layer: str, unit: str, rank: str, reader: signed_in) -> Response:
        return grey_response(frame.units.source(reader, (study_id, layer, channel_of(unit)), number_of(rank)))

    @router.get("/sheets/{study_id}/{layer}/{unit}.jpg")
    def sheet(study_id: str, layer: str, unit: str, reader: signed_in) -> Response:
        return image_response(frame.units.sheet(reader, (study_id, layer, channel_of(unit))))

    @router.get("/mammograms/{study_id}/{number}.jpg")
    def mammogram(study_id: str, number: str, reader: signed_in) -> Response:
        return image_response(frame.units.mammogram(reader, study_id, number_of(number)))

    @router.get("/mammograms/{study_id}/{number}.grey")
    def region_of_mammogram(study_id: str, number: str, reader: signed_in, region: str = "") -> Response:
        return grey_response(frame.units.region(reader, study_id, number_of(number), Region.parse(region)))

    return router
