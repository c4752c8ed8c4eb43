"""The HTTP side of the training service."""

from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Path, Query, Response

from services.common.http.idempotency import StartKey
from services.common.http.plan_routes import add_plan_routes
from services.common.http.streams import Streams
from services.common.http.task_routes import TaskRoutes
from services.common.paging import Window
from services.common.work.views import PlanStages
from services.imaging.licence import DataCard
from services.training.raw.report import ImportReport
from services.training.schemas import (
    BalanceView,
    BuildList,
    BuildView,
    ChangeRunRequest,
    DatasetList,
    DatasetView,
    ImportFolders,
    PatchList,
    PatchQuery,
    PlanList,
    RunList,
    RunView,
    StartBuildRequest,
    StartPlanRequest,
    StartRunRequest,
)
from services.training.workflow.contents import DatasetContents
from services.training.workflow.datasets import Datasets
from services.training.workflow.plans import Plans
from services.training.workflow.runs import Runs

PICTURE: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}}
PatchNumber = Annotated[int, Path(ge=0, lt=2**31, description="The id of the patch in its data set, from 0.")]


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

    _add_contents(router, DatasetContents(datasets.ports))
    _add_builds(router, datasets, streams)

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


def _add_contents(router: APIRouter, contents: DatasetContents) -> None:
    """Add the routes of what a data set contains."""

    @router.get("/datasets/{dataset_id}/balance", tags=["data sets"])
    def get_balance(dataset_id: str) -> BalanceView:
        """The patients and patches of each class in each split."""
        return contents.balance(dataset_id)

    @router.get("/datasets/{dataset_id}/card", tags=["data sets"])
    def get_card(dataset_id: str) -> DataCard:
        """The data card of a data set that was cut from raw mammograms: licence, citation, splits, recipe."""
        return contents.card(dataset_id)

    @router.get("/datasets/{dataset_id}/report", tags=["data sets"])
    def get_import_report(dataset_id: str) -> ImportReport:
        """What the import of raw mammograms dropped, mended and flagged."""
        return contents.report(dataset_id)

    @router.get("/datasets/{dataset_id}/patches", tags=["data sets"])
    def list_patches(dataset_id: str, query: Annotated[PatchQuery, Query()]) -> PatchList:
        """A page of patches, of one split or class or of all, in the order of their ids."""
        return contents.patches(dataset_id, query)

    @router.get(
        "/datasets/{dataset_id}/patches/{patch_id}/picture.jpg",
        tags=["data sets"],
        response_class=Response,
        responses=PICTURE,
    )
    def get_patch_picture(dataset_id: str, patch_id: PatchNumber) -> Response:
        """A patch as a JPEG of 8 bits, with at most 512 pixels a side."""
        return Response(contents.picture(dataset_id, patch_id), media_type="image/jpeg")


def _add_builds(router: APIRouter, datasets: Datasets, streams: Streams) -> None:
    """Add the routes of builds and imports of data sets."""

    @router.get("/import-folders", tags=["builds"])
    def list_import_folders() -> ImportFolders:
        """The folders on the machine of this service that may be imported as data sets."""
        return datasets.folders()

    @router.post("/builds", status_code=202, tags=["builds"])
    def start_build(request: StartBuildRequest, key: StartKey) -> BuildView:
        """Build the sample data set, or import a folder of the operator's import folder."""
        return datasets.start_build(request, key)

    routes = TaskRoutes(
        "build", "builds", BuildView, datasets.get_build, datasets.act, streams, kept="A resumed one starts again."
    )
    routes.add_list(router, BuildList, datasets.builds)
    routes.add(router)
