"""The HTTP side of the training service."""

from fastapi import APIRouter, FastAPI

from services.common.views import PlanStages
from services.training.schemas import DatasetList, DatasetView, RunList, RunView, StartPlanRequest, StartRunRequest
from services.training.workflow.datasets import Datasets
from services.training.workflow.plans import Plans
from services.training.workflow.runs import Runs


def add_routes(app: FastAPI, datasets: Datasets, runs: Runs, plans: Plans) -> None:
    """Add the routes of version 1."""
    router = APIRouter(prefix="/v1")

    @router.post("/plans", status_code=202, tags=["plans"])
    def start_plan(request: StartPlanRequest) -> PlanStages:
        """Train or take a network, extract, render, open a study; the same plan_id starts nothing twice."""
        return plans.start(request)

    @router.get("/plans/{plan_id}", tags=["plans"])
    def get_plan(plan_id: str) -> PlanStages:
        """The stages of a plan that this service does."""
        return plans.get(plan_id)

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

    @router.post("/runs/{run_id}/cancel", status_code=202, tags=["runs"])
    def cancel_run(run_id: str) -> RunView:
        """Stop a run; its last checkpoint stays."""
        return runs.cancel(run_id)

    app.include_router(router)
