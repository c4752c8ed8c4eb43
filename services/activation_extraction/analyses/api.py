"""The HTTP side of analyses."""

from typing import Annotated

from fastapi import APIRouter, FastAPI, Query

from services.activation_extraction.analyses.queries import AnalysisQueries
from services.activation_extraction.analyses.schemas import AnalysisList, AnalysisTable, AnalysisView, TableQuery
from services.activation_extraction.analyses.settings import AnalysisSettings
from services.activation_extraction.analyses.workflow import Analyses
from services.common.http.idempotency import StartKey
from services.common.http.streams import Streams
from services.common.http.task_routes import TaskRoutes
from services.common.paging import Window


def add_analysis_routes(app: FastAPI, analyses: Analyses, queries: AnalysisQueries, streams: Streams) -> None:
    """Add the routes of version 1. Call this before `add_routes`, whose routes would read `analyses` as a verb."""
    router = APIRouter(prefix="/v1")

    @router.post("/extractions/{extraction_id}/analyses", status_code=202, tags=["analyses"])
    def start_analysis(extraction_id: str, request: AnalysisSettings, key: StartKey) -> AnalysisView:
        """Start an analysis of a completed extraction. `kind` names the kind of analysis."""
        return queries.get(analyses.start(extraction_id, request, key))

    @router.get("/extractions/{extraction_id}/analyses", tags=["analyses"])
    def list_analyses(extraction_id: str, window: Annotated[Window, Query()]) -> AnalysisList:
        """A page of the analyses of an extraction, newest first."""
        return queries.of(extraction_id, window)

    kept = "Pieces that are done are kept."
    TaskRoutes("analysis", "analyses", AnalysisView, queries.get, analyses.act, streams, kept).add(router)

    @router.get("/analyses/{analysis_id}/layers/{layer}", tags=["analyses"])
    def get_analysis_table(analysis_id: str, layer: str, query: Annotated[TableQuery, Query()]) -> AnalysisTable:
        """The result of a completed analysis for a layer: a row for each unit and phenomenon, or for each unit and
        class."""
        return queries.table(analysis_id, layer, query)

    app.include_router(router)
