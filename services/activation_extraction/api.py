"""The HTTP side of the activation extraction service."""

from typing import Annotated

from fastapi import APIRouter, FastAPI, Path, Query

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
from services.common.http.idempotency import StartKey
from services.common.http.plan_routes import add_plan_routes
from services.common.http.streams import Streams
from services.common.http.task_routes import TaskRoutes
from services.imaging.units import UnitName, unit_channel

Unit = Annotated[
    UnitName | int,
    Path(description="The unit's name, such as `unit_0001`. A bare number is its channel, from 0."),
]


def add_routes(app: FastAPI, extractions: Extractions, queries: Queries, units: Units, streams: Streams) -> None:
    """Add the routes of version 1."""
    router = APIRouter(prefix="/v1")

    @router.post("/extractions", status_code=202, tags=["extractions"])
    def start_extraction(request: StartExtractionRequest, key: StartKey) -> ExtractionView:
        """Extract chosen layers of a completed run over a split."""
        return queries.get(extractions.start(request, key))

    routes = TaskRoutes("extraction", "extractions", ExtractionView, queries.get, extractions.act, streams)
    routes.add_list(router, ExtractionList, queries.all)
    routes.add(router)

    @router.get("/extractions/{extraction_id}/layers/{layer}/units", tags=["units"])
    def list_units(extraction_id: str, layer: str, query: Annotated[UnitsQuery, Query()]) -> UnitList:
        """The units of a layer, sorted and filtered."""
        return units.query(extraction_id, layer, query)

    @router.get("/extractions/{extraction_id}/layers/{layer}/units/{unit}", tags=["units"])
    def get_unit(extraction_id: str, layer: str, unit: Unit) -> UnitView:
        """Everything that is recorded about one unit: statistics, similar units, top patches, sample patches."""
        return units.get(extraction_id, layer, unit_channel(unit))

    add_plan_routes(router, queries.plan, extractions.act_on_plan, streams)

    app.include_router(router)
