"""The HTTP side of the activation extraction service."""

from typing import Annotated

from fastapi import APIRouter, FastAPI, Query, Request, Response

from services.activation_extraction.schemas import (
    ExtractionList,
    ExtractionView,
    StartExtractionRequest,
    UnitList,
    UnitsQuery,
    UnitView,
)
from services.activation_extraction.workflow.extractions import Extractions
from services.activation_extraction.workflow.queries import Queries
from services.activation_extraction.workflow.units import Units
from services.common.http.plan_routes import add_plan_routes
from services.common.http.streams import EventStream, Streams
from services.common.work.tasks import Verb
from services.common.work.views import has_ended


def add_routes(app: FastAPI, extractions: Extractions, queries: Queries, units: Units, streams: Streams) -> None:
    """Add the routes of version 1."""
    router = APIRouter(prefix="/v1")

    @router.post("/extractions", status_code=202, tags=["extractions"])
    def start_extraction(request: StartExtractionRequest) -> ExtractionView:
        """Extract chosen layers of a completed run over a split."""
        return queries.get(extractions.start(request))

    @router.get("/extractions", tags=["extractions"])
    def list_extractions() -> ExtractionList:
        """All extractions, newest first."""
        return queries.all()

    @router.get("/extractions/{extraction_id}", tags=["extractions"])
    def get_extraction(extraction_id: str) -> ExtractionView:
        """One extraction."""
        return queries.get(extraction_id)

    @router.post("/extractions/{extraction_id}/{verb}", status_code=202, tags=["extractions"])
    def act_on_extraction(extraction_id: str, verb: Verb) -> ExtractionView:
        """Pause, resume or cancel; a job at work on it stops within five seconds. What is done is kept."""
        extractions.act(verb, extraction_id)
        return queries.get(extraction_id)

    @router.get("/extractions/{extraction_id}/events", response_class=EventStream, tags=["extractions"])
    def watch_extraction(extraction_id: str, request: Request) -> Response:
        """Server-sent events: the extraction, again whenever it has changed, until it has ended."""
        return streams.events(request, lambda: queries.get(extraction_id), has_ended)

    @router.get("/extractions/{extraction_id}/layers/{layer}/units", tags=["units"])
    def list_units(extraction_id: str, layer: str, query: Annotated[UnitsQuery, Query()]) -> UnitList:
        """Units of a layer, sorted and filtered."""
        return units.part(extraction_id, layer, query)

    @router.get("/extractions/{extraction_id}/layers/{layer}/units/{unit}", tags=["units"])
    def get_unit(extraction_id: str, layer: str, unit: int) -> UnitView:
        """All that is known of one unit (channel from 0): statistics, similar units, top patches, the sample."""
        return units.get(extraction_id, layer, unit)

    add_plan_routes(router, queries.plan, extractions.act_on_plan, streams)

    app.include_router(router)
