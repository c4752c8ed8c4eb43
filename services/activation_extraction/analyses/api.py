"""The HTTP side of analyses."""

from typing import Annotated

from fastapi import APIRouter, FastAPI, Query, Request, Response

from services.activation_extraction.analyses.kinds import AnalysisSettings
from services.activation_extraction.analyses.schemas import AnalysisList, AnalysisTable, AnalysisView, TableQuery
from services.activation_extraction.analyses.workflow import Analyses, AnalysisQueries
from services.common.http.streams import EventStream, Streams
from services.common.work.tasks import Verb
from services.common.work.views import has_ended


def add_analysis_routes(app: FastAPI, analyses: Analyses, queries: AnalysisQueries, streams: Streams) -> None:
    """Add the routes of version 1; before those of extractions, whose verbs would take `analyses` for one of them."""
    router = APIRouter(prefix="/v1")

    @router.post("/extractions/{extraction_id}/analyses", status_code=202, tags=["analyses"])
    def start_analysis(extraction_id: str, request: AnalysisSettings) -> AnalysisView:
        """Analyse a completed extraction in the way that `kind` names."""
        return queries.get(analyses.start(extraction_id, request))

    @router.get("/extractions/{extraction_id}/analyses", tags=["analyses"])
    def list_analyses(extraction_id: str) -> AnalysisList:
        """The analyses of an extraction, newest first."""
        return queries.of(extraction_id)

    @router.get("/analyses/{analysis_id}", tags=["analyses"])
    def get_analysis(analysis_id: str) -> AnalysisView:
        """One analysis."""
        return queries.get(analysis_id)

    @router.post("/analyses/{analysis_id}/{verb}", status_code=202, tags=["analyses"])
    def act_on_analysis(analysis_id: str, verb: Verb) -> AnalysisView:
        """Pause, resume or cancel; a job at work on it stops within five seconds. Pieces that are done are kept."""
        analyses.act(verb, analysis_id)
        return queries.get(analysis_id)

    @router.get("/analyses/{analysis_id}/events", response_class=EventStream, tags=["analyses"])
    def watch_analysis(analysis_id: str, request: Request) -> Response:
        """Server-sent events: the analysis, again whenever it has changed, until it has ended."""
        return streams.events(request, lambda: queries.get(analysis_id), has_ended)

    @router.get("/analyses/{analysis_id}/layers/{layer}", tags=["analyses"])
    def get_analysis_table(analysis_id: str, layer: str, query: Annotated[TableQuery, Query()]) -> AnalysisTable:
        """What a completed analysis found of a layer, a row a unit and phenomenon, or a unit and class."""
        return queries.table(analysis_id, layer, query)

    app.include_router(router)
