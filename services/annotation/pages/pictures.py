"""Pictures, contact sheets and previews of mammograms. Keys of objects come from our tables, never from an address."""

from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from services.annotation.pages.frame import Frame
from services.annotation.pages.links import channel_of, number_of
from services.annotation.picture_responses import image_response
from services.annotation.protocol_schemas import PatchView
from services.annotation.schemas import MammogramView, PictureView
from services.annotation.workflow.readers import Reader


def routes(frame: Frame) -> APIRouter:
    """The routes of pictures."""
    router = APIRouter(include_in_schema=False)
    signed_in = Annotated[Reader, Depends(frame.auth.page_reader)]

    @router.get("/pictures/{study_id}/{layer}/{unit}/{rank}.jpg")
    def picture(study_id: str, layer: str, unit: str, rank: str, reader: signed_in) -> Response:
        return image_response(frame.units.picture(reader, (study_id, layer, channel_of(unit)), number_of(rank)))

    @router.get("/sheets/{study_id}/{layer}/{unit}.jpg")
    def sheet(study_id: str, layer: str, unit: str, reader: signed_in) -> Response:
        return image_response(frame.units.sheet(reader, (study_id, layer, channel_of(unit))))

    @router.get("/mammograms/{study_id}/{number}.jpg")
    def mammogram(study_id: str, number: str, reader: signed_in) -> Response:
        return image_response(frame.units.mammogram(reader, study_id, number_of(number)))

    return router


def boxes(
    numbered: Iterable[tuple[int, PictureView | PatchView]], mammograms: Iterable[MammogramView]
) -> dict[int, str]:
    """By number, the box of a patch in its mammogram: top, left, height and width in percent of the mammogram. Row and
    height are vertical."""
    sizes = {mammogram.number: (mammogram.height, mammogram.width) for mammogram in mammograms}
    found = {}
    for number, patch in numbered:
        if patch.mammogram in sizes:
            height, width = sizes[patch.mammogram]
            parts = (patch.row / height, patch.column / width, patch.height / height, patch.width / width)
            found[number] = " ".join(f"{100 * part:.3f}" for part in parts)
    return found
