"""Downloads of a study's answers, for the study's owner."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from services.annotation.pages.frame import Frame
from services.annotation.record_api import imrmc_options, sent_file
from services.annotation.workflow.exports import Format, ImrmcOptions


def routes(frame: Frame) -> APIRouter:
    """The routes of downloads. They send the same files as the API."""
    router = APIRouter(include_in_schema=False, dependencies=[Depends(frame.auth.manager)])

    @router.get("/studies/{study_id}/protocol/{version}/imrmc.csv")
    def imrmc(study_id: str, version: int, options: Annotated[ImrmcOptions, Depends(imrmc_options)]) -> Response:
        return sent_file(frame.exports.imrmc((study_id, version), options))

    @router.get("/studies/{study_id}/protocol/{version}/readings.{format}")
    def readings(study_id: str, version: int, format: Format) -> Response:
        return sent_file(frame.exports.readings((study_id, version), format))

    @router.get("/studies/{study_id}/responses.{format}")
    def responses(study_id: str, format: Format) -> Response:
        return sent_file(frame.exports.responses(study_id, format))

    return router
