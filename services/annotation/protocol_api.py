"""The HTTP API of protocols, for the owners of studies, and of readings, for readers."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi import Path as InPath

from services.annotation.auth import Auth
from services.annotation.protocol_schemas import (
    AnswerReadingRequest,
    DraftReadingRequest,
    OpenProtocolRequest,
    ProtocolList,
    ProtocolPreview,
    ProtocolView,
    ReadingLists,
    ReadingListView,
    ReadingPlaces,
    ReadingView,
)
from services.annotation.result_schemas import ResultsView
from services.annotation.workflow.protocols import Protocols
from services.annotation.workflow.readers import Reader
from services.annotation.workflow.readings import Readings
from services.annotation.workflow.results import Results

VersionNumber = Annotated[int, InPath(ge=1, lt=2**31, description="Version of the protocol, from 1.")]


def protocol_routes(auth: Auth, protocols: Protocols, results: Results) -> APIRouter:
    """The routes of protocols. All need the scope annotation:manage."""
    router = APIRouter(prefix="/v1/studies/{study_id}", tags=["protocols"])

    @router.post("/protocol-preview")
    def preview_protocol(study_id: str, request: OpenProtocolRequest) -> ProtocolPreview:
        """What a protocol would be: units, readings of each reader, shared units. Nothing is saved."""
        return protocols.preview(study_id, request)

    @router.post("/protocols", status_code=201)
    def open_protocol(study_id: str, request: OpenProtocolRequest) -> ProtocolView:
        """Open a version of the protocol. An open earlier version closes, and keeps its answers."""
        return protocols.open(study_id, request)

    @router.get("/protocols")
    def list_protocols(study_id: str) -> ProtocolList:
        """All versions of the protocol, newest first, with the progress of their readers."""
        return protocols.all(study_id)

    @router.get("/protocols/{version}")
    def get_protocol(study_id: str, version: VersionNumber) -> ProtocolView:
        """A version of the protocol, with the progress of its readers."""
        return protocols.get((study_id, version))

    @router.post("/protocols/{version}/close")
    def close_protocol(study_id: str, version: VersionNumber) -> ProtocolView:
        """Close a version: nothing more can be answered."""
        return protocols.close((study_id, version))

    @router.get("/protocols/{version}/results")
    def get_results(
        study_id: str, version: VersionNumber, reader: Annotated[Reader | None, Depends(auth.optional_reader)]
    ) -> ResultsView:
        """Agreement, controls, times and the summary by layer. 403 for somebody who reads under the protocol while it
        is open."""
        return results.of((study_id, version), reader, manages=True)

    return router


def reading_routes(auth: Auth, readings: Readings, results: Results) -> APIRouter:
    """The routes of readings. Each call is for the reader that it names."""
    router = APIRouter(prefix="/v1", tags=["readings"])
    api_reader = Annotated[Reader, Depends(auth.api_reader)]

    @router.get("/reading-lists")
    def list_reading_lists(reader: api_reader) -> ReadingLists:
        """The reading lists of the reader, newest first."""
        return readings.lists(reader)

    @router.get("/reading-lists/{study_id}/{version}")
    def get_reading_list(study_id: str, version: VersionNumber, reader: api_reader) -> ReadingListView:
        """A reading list of the reader: questions, progress and the next reading."""
        return readings.list(reader, (study_id, version))

    @router.get("/reading-lists/{study_id}/{version}/readings")
    def list_readings(study_id: str, version: VersionNumber, reader: api_reader) -> ReadingPlaces:
        """All readings of a list, in the order of the reader."""
        return readings.places(reader, (study_id, version))

    @router.get("/reading-lists/{study_id}/{version}/results")
    def get_results_as_reader(study_id: str, version: VersionNumber, reader: api_reader) -> ResultsView:
        """The results of a protocol that the reader has read under. 403 before it is closed."""
        return results.of((study_id, version), reader, manages=False)

    @router.post("/reading-lists/{study_id}/{version}/take")
    def take_reading(study_id: str, version: VersionNumber, reader: api_reader) -> ReadingListView:
        """Take over a reading of a reader who has been inactive for the lease of the protocol. 404 if there is none."""
        return readings.take(reader, (study_id, version))

    @router.get("/readings/{reading_id}")
    def get_reading(reading_id: str, reader: api_reader) -> ReadingView:
        """A reading: what is shown, and the reader's answers to it."""
        return readings.get(reader, reading_id)

    @router.put("/readings/{reading_id}/answer")
    def answer_reading(reading_id: str, request: AnswerReadingRequest, reader: api_reader) -> ReadingView:
        """Save an answer; after the reveal, the second answer. 409 if it was changed since `base_version`."""
        return readings.answer(reader, reading_id, request)

    @router.put("/readings/{reading_id}/draft", status_code=204)
    def save_draft(reading_id: str, request: DraftReadingRequest, reader: api_reader) -> None:
        """Keep an unfinished answer. 409 if an answer was saved since `base_version`."""
        readings.save_draft(reader, reading_id, request)

    @router.post("/readings/{reading_id}/skip")
    def skip_reading(reading_id: str, reader: api_reader) -> ReadingView:
        """Postpone a reading to the end of the list."""
        return readings.skip(reader, reading_id)

    @router.post("/readings/{reading_id}/reveal")
    def reveal_reading(reading_id: str, reader: api_reader) -> ReadingView:
        """Lock the answer and show the classes of the patches. 409 before the protocol allows it."""
        return readings.reveal(reader, reading_id)

    return router
