"""The HTTP side of the activation extraction service."""

from typing import Annotated

from fastapi import APIRouter, FastAPI, Query

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
from services.common.http.streams import Streams
from services.common.http.task_routes import TaskRoutes


def add_routes(app: FastAPI, extractions: Extractions, queries: Queries, units: Units, streams: Streams) -> None:
    """Add the routes of version 1."""
    router = APIRouter(prefix="/v1")

    @router.post("/extractions", status_code=202, tags=["extractions"])
    def start_extraction(request: StartExtractionRequest) -> ExtractionView:
        """Extract chosen layers of a completed run over a split."""
        return queries.get(extractions.start(request))

    routes = TaskRoutes("extraction", "extractions", ExtractionView, queries.get, extractions.act, streams)
    routes.add_list(router, ExtractionList, queries.all)
    routes.add(router)

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
