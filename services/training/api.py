"""The HTTP side of the training service."""

from fastapi import APIRouter, FastAPI, Request, Response

from services.common.http.plan_routes import add_plan_routes
from services.common.http.streams import EventStream, Streams
from services.common.work.tasks import Verb
from services.common.work.views import PlanStages, has_ended
from services.training.schemas import DatasetList, DatasetView, RunList, RunView, StartPlanRequest, StartRunRequest
from services.training.workflow.datasets import Datasets
from services.training.workflow.plans import Plans
from services.training.workflow.runs import Runs


def add_routes(app: FastAPI, datasets: Datasets, runs: Runs, plans: Plans, streams: Streams) -> None:
    """Add the routes of version 1."""
    router = APIRouter(prefix="/v1")

    @router.post("/plans", status_code=202, tags=["plans"])
    def start_plan(request: StartPlanRequest) -> PlanStages:
        """Train or take a network, extract, render, open a study; the same plan_id starts nothing twice."""
        return plans.start(request)

    add_plan_routes(router, plans.get, plans.act, streams, plans.ended)

    @router.get("/datasets", tags=["data sets"])
    def list_datasets() -> DatasetList:
        """All data sets, newest first."""
        return datasets.all()

    @router.get("/datasets/{dataset_id}", tags=["data sets"])
    def get_dataset(dataset_id: str) -> DatasetView:
        """One data set."""
        return datasets.get(dataset_id)

    @router.post("/runs", status_code=202, tags=["runs"])
    def start_run(request: StartRunRequest) -> RunView:
        """Train on a data set."""
        return runs.start(request)

    @router.get("/runs", tags=["runs"])
    def list_runs() -> RunList:
        """All runs, newest first."""
        return runs.all()

    @router.get("/runs/{run_id}", tags=["runs"])
    def get_run(run_id: str) -> RunView:
        """One run with its metrics so far."""
        return runs.get(run_id)

    @router.post("/runs/{run_id}/{verb}", status_code=202, tags=["runs"])
    def act_on_run(run_id: str, verb: Verb) -> RunView:
        """Pause, resume or cancel; a job at work on it stops within five seconds. What is done is kept."""
        runs.act(verb, run_id)
        return runs.get(run_id)

    @router.get("/runs/{run_id}/events", response_class=EventStream, tags=["runs"])
    def watch_run(run_id: str, request: Request) -> Response:
        """Server-sent events: the run, again whenever it has changed, until it has ended."""
        return streams.events(request, lambda: runs.get(run_id), has_ended)

    app.include_router(router)
