"""The HTTP side of the activation extraction service."""

from fastapi import APIRouter, FastAPI

from services.activation_extraction.schemas import ExtractionList, ExtractionView, StartExtractionRequest, UnitView
from services.activation_extraction.workflow.extractions import Extractions
from services.activation_extraction.workflow.queries import Queries
from services.common.views import PlanStages


def add_routes(app: FastAPI, extractions: Extractions, queries: Queries) -> None:
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

    @router.post("/extractions/{extraction_id}/cancel", status_code=202, tags=["extractions"])
    def cancel_extraction(extraction_id: str) -> ExtractionView:
        """Stop an extraction."""
        extractions.cancel(extraction_id)
        return queries.get(extraction_id)

    @router.get("/extractions/{extraction_id}/layers/{layer}/units/{unit}", tags=["units"])
    def get_unit(extraction_id: str, layer: str, unit: int) -> UnitView:
        """Top patches and statistics of one unit (channel from 0)."""
        return queries.unit(extraction_id, layer, unit)

    @router.get("/plans/{plan_id}", tags=["plans"])
    def get_plan(plan_id: str) -> PlanStages:
        """The stage of a plan that this service does."""
        return queries.plan(plan_id)

    app.include_router(router)
