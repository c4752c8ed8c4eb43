"""The HTTP side of evaluations and comparisons."""

from typing import Annotated

from fastapi import APIRouter, FastAPI, Query, Response

from services.common.http.idempotency import StartKey
from services.common.http.streams import Streams
from services.common.http.task_routes import TaskRoutes
from services.common.paging import Window
from services.training.evaluation.comparisons import Comparisons
from services.training.evaluation.schemas import (
    CompareRequest,
    ComparisonList,
    ComparisonView,
    EvaluationList,
    EvaluationView,
    Report,
    StartEvaluationRequest,
)
from services.training.evaluation.workflow import Evaluations

SVG = "image/svg+xml"


def add_evaluation_routes(app: FastAPI, evaluations: Evaluations, comparisons: Comparisons, streams: Streams) -> None:
    """Add the routes of version 1."""
    router = APIRouter(prefix="/v1")

    @router.post("/evaluations", status_code=202, tags=["evaluations"])
    def start_evaluation(request: StartEvaluationRequest, key: StartKey) -> EvaluationView:
        """Evaluate a checkpoint of a run on a split."""
        return evaluations.start(request, key)

    routes = TaskRoutes(
        "evaluation",
        "evaluations",
        EvaluationView,
        evaluations.get,
        evaluations.act,
        streams,
        kept="A resumed one starts again.",
    )
    routes.add_list(router, EvaluationList, evaluations.all)
    routes.add(router)

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
    def compare_evaluations(request: CompareRequest, key: StartKey) -> ComparisonView:
        """Compare two completed evaluations of the same split; the same request finds the same comparison."""
        return comparisons.compare(request, key)

    @router.get("/comparisons", tags=["comparisons"])
    def list_comparisons(window: Annotated[Window, Query()]) -> ComparisonList:
        """A page of all comparisons, newest first."""
        return comparisons.all(window)

    @router.get("/comparisons/{comparison_id}", tags=["comparisons"])
    def get_comparison(comparison_id: str) -> ComparisonView:
        """One comparison."""
        return comparisons.get(comparison_id)

    app.include_router(router)
