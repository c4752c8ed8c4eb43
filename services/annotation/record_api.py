"""The HTTP API of exports and imports of a study, for its owners."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse

from services.annotation.auth import Auth
from services.annotation.exports.imrmc import Header
from services.annotation.protocol_api import VersionNumber
from services.annotation.record_schemas import ImportedResponses, ImportResponsesRequest
from services.annotation.workflow.exports import MEDIA_TYPES, ExportedFile, Exports, Format, ImrmcOptions
from services.annotation.workflow.readers import Reader
from services.annotation.workflow.response_import import ResponseImport

FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file.", "content": {kind.partition(";")[0]: {} for kind in MEDIA_TYPES.values()}}
}
CSV_FILE: dict[int | str, dict[str, Any]] = {200: {"description": "The file.", "content": {"text/csv": {}}}}


def record_routes(auth: Auth, exports: Exports, imports: ResponseImport) -> APIRouter:
    """The routes of exports and imports. All need the scope annotation:manage."""
    router = APIRouter(prefix="/v1/studies/{study_id}", tags=["exports and imports"])
    protocol = "/protocols/{version}/export"

    @router.get(f"{protocol}.imrmc.csv", response_class=StreamingResponse, responses=CSV_FILE)
    def export_imrmc(
        study_id: str, version: VersionNumber, options: Annotated[ImrmcOptions, Depends(imrmc_options)]
    ) -> StreamingResponse:
        """The first answers to one question as scores, in the list form of iMRMC."""
        return sent(exports.imrmc((study_id, version), options))

    @router.get(f"{protocol}.{{format}}", response_class=StreamingResponse, responses=FILE)
    def export_readings(study_id: str, version: VersionNumber, format: Format) -> StreamingResponse:
        """All readings of a version of a protocol, with pseudonyms, answers and times. A file that is cut off ends
        without the end of its HTTP message."""
        return sent(exports.readings((study_id, version), format))

    @router.get("/responses/export.{format}", response_class=StreamingResponse, responses=FILE)
    def export_responses(study_id: str, format: Format) -> StreamingResponse:
        """All current answers to the four questions, with pseudonyms."""
        return sent(exports.responses(study_id, format))

    @router.post("/responses/import")
    def import_responses(
        study_id: str, request: ImportResponsesRequest, _: Annotated[Reader | None, Depends(auth.optional_reader)]
    ) -> ImportedResponses:
        """Import answers that readers gave elsewhere, all or none. 409 if a reader has another answer to a unit."""
        return imports.run(study_id, request)

    return router


def imrmc_options(
    question: Annotated[str, Query(max_length=64, description="A question of the questionnaire with choices.")],
    order: Annotated[
        str,
        Query(
            max_length=1000,
            description="Its choices from the lowest score to the highest, with commas. A scale has an order of its "
            "own. Answers that are not named are left out.",
        ),
    ] = "",
    truth: Annotated[
        Literal["positives", "none"], Query(description="Whether each unit has a row of truth.")
    ] = "positives",
    least_positives: Annotated[
        int,
        Query(ge=1, le=8, description="A unit is positive if so many of its first 8 patches are of the last class."),
    ] = 4,
    header: Annotated[
        Header, Query(description="The first line: names of the columns, or `BEGIN DATA:` for the iMRMC application.")
    ] = "names",
) -> ImrmcOptions:
    """The options in a query string."""
    choices = tuple(choice for choice in order.split(",") if choice)
    return ImrmcOptions(question, choices, least_positives if truth == "positives" else None, header)


def sent(file: ExportedFile) -> StreamingResponse:
    """Send a file while it is written."""
    headers = {"content-disposition": f'attachment; filename="{file.name}"'}
    return StreamingResponse(file.chunks, media_type=file.media_type, headers=headers)
