"""The HTTP side of evaluations and comparisons."""

from fastapi import APIRouter, FastAPI, Request, Response

from services.common.http.streams import EventStream, Streams
from services.common.work.tasks import Verb
from services.common.work.views import has_ended
from services.training.evaluation.schemas import (
    CompareRequest,
    ComparisonList,
    ComparisonView,
    EvaluationList,
    EvaluationView,
    Report,
    StartEvaluationRequest,
)
from services.training.evaluation.workflow import Comparisons, Evaluations

SVG = "image/svg+xml"


def add_evaluation_routes(app: FastAPI, evaluations: Evaluations, comparisons: Comparisons, streams: Streams) -> None:
    """Add the routes of version 1."""
    router = APIRouter(prefix="/v1")

    @router.post("/evaluations", status_code=202, tags=["evaluations"])
    def start_evaluation(request: StartEvaluationRequest) -> EvaluationView:
        """Evaluate a checkpoint of a run on a split."""
        return evaluations.start(request)

    @router.get("/evaluations", tags=["evaluations"])
    def list_evaluations() -> EvaluationList:
        """All evaluations, newest first."""
        return evaluations.all()

    @router.get("/evaluations/{evaluation_id}", tags=["evaluations"])
    def get_evaluation(evaluation_id: str) -> EvaluationView:
        """One evaluation."""
        return evaluations.get(evaluation_id)

    @router.post("/evaluations/{evaluation_id}/{verb}", status_code=202, tags=["evaluations"])
    def act_on_evaluation(evaluation_id: str, verb: Verb) -> EvaluationView:
        """Pause, resume or cancel; a job at work on it stops within five seconds. A resumed one begins anew."""
        evaluations.act(verb, evaluation_id)
        return evaluations.get(evaluation_id)

    @router.get("/evaluations/{evaluation_id}/events", response_class=EventStream, tags=["evaluations"])
    def watch_evaluation(evaluation_id: str, request: Request) -> Response:
        """Server-sent events: the evaluation, again whenever it has changed, until it has ended."""
        return streams.events(request, lambda: evaluations.get(evaluation_id), has_ended)

    @router.get("/evaluations/{evaluation_id}/report", tags=["evaluations"])
    def get_report(evaluation_id: str) -> Report:
        """The figures of a completed evaluation."""
        return evaluations.report(evaluation_id)

    @router.get(
        "/evaluations/{evaluation_id}/figures/{figure}.svg",
        tags=["evaluations"],
        response_class=Response,
        responses={200: {"content": {SVG: {}}}},
    )
    def get_figure(evaluation_id: str, figure: str) -> Response:
        """A figure of a completed evaluation: roc, precision-recall, reliability or confusion."""
        return Response(evaluations.figure(evaluation_id, figure), media_type=SVG)

    @router.post("/comparisons", tags=["comparisons"])
    def compare_evaluations(request: CompareRequest) -> ComparisonView:
        """Compare two completed evaluations of the same split; the same request finds the same comparison."""
        return comparisons.compare(request)

    @router.get("/comparisons", tags=["comparisons"])
    def list_comparisons() -> ComparisonList:
        """All comparisons, newest first."""
        return comparisons.all()

    @router.get("/comparisons/{comparison_id}", tags=["comparisons"])
    def get_comparison(comparison_id: str) -> ComparisonView:
        """One comparison."""
        return comparisons.get(comparison_id)

    app.include_router(router)
