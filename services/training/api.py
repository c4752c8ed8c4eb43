"""The HTTP side of the training service."""

from typing import Annotated

from fastapi import APIRouter, FastAPI, Query

from services.common.http.idempotency import StartKey
from services.common.http.plan_routes import add_plan_routes
from services.common.http.streams import Streams
from services.common.http.task_routes import TaskRoutes
from services.common.paging import Window
from services.common.work.views import PlanStages
from services.training.schemas import (
    ChangeRunRequest,
    DatasetList,
    DatasetView,
    PlanList,
    RunList,
    RunView,
    StartPlanRequest,
    StartRunRequest,
)
from services.training.workflow.datasets import Datasets
from services.training.workflow.plans import Plans
from services.training.workflow.runs import Runs


def add_routes(app: FastAPI, datasets: Datasets, runs: Runs, plans: Plans, streams: Streams) -> None:
    """Add the routes of version 1."""
    router = APIRouter(prefix="/v1")

    @router.post("/plans", status_code=202, tags=["plans"])
    def start_plan(request: StartPlanRequest, key: StartKey) -> PlanStages:
        """Train a network or use a trained one, extract, render and open a study. A plan_id starts one plan only."""
        return plans.start(request, key)

    @router.get("/plans", tags=["plans"])
    def list_plans(window: Annotated[Window, Query()]) -> PlanList:
        """A page of all plans, newest first, each with the stages that this service does."""
        return plans.all(window)

    add_plan_routes(router, plans.get, plans.act, streams, plans.ended)

    @router.get("/datasets", tags=["data sets"])
    def list_datasets(window: Annotated[Window, Query()]) -> DatasetList:
        """A page of all data sets, newest first."""
        return datasets.all(window)

    @router.get("/datasets/{dataset_id}", tags=["data sets"])
    def get_dataset(dataset_id: str) -> DatasetView:
        """One data set."""
        return datasets.get(dataset_id)

    @router.post("/runs", status_code=202, tags=["runs"])
    def start_run(request: StartRunRequest, key: StartKey) -> RunView:
        """Train on a data set."""
        return runs.start(request, key)

    @router.patch("/runs/{run_id}", tags=["runs"])
    def change_run(run_id: str, request: ChangeRunRequest) -> RunView:
        """Give a run another name."""
        return runs.change(run_id, request)

    routes = TaskRoutes("run", "runs", RunView, runs.get, runs.act, streams)
    routes.add_list(router, RunList, runs.all)
    routes.add(router)
    app.include_router(router)
