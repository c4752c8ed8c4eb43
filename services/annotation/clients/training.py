"""Client of the training service, for the pages of data sets, runs and plans."""

from collections.abc import Mapping
from typing import Any

import anyio
import anyio.to_thread
from primitives.training.v1.training_pb2 import (
    Dataset,
    ListDatasetsResponse,
    ListPlansResponse,
    ListRunsResponse,
    Run,
)
from pydantic import BaseModel
from starlette.responses import Response

from services.annotation.clients.http import Query, ServiceClient, id_in_path
from services.annotation.clients.raw_imports import Card, Layouts, RawImport, RawImports, Report
from services.common.errors import NotFound
from services.common.http.streams import HEADERS
from services.common.paging import FIRST_PAGE, PageView, Window
from services.common.progress import Progress
from services.common.settings import Shared
from services.common.work.tasks import Verb
from services.common.work.views import PlanStages

PICTURES = 4
"""Pictures of patches that are fetched at a time, in threads of their own: a browser requests many at once."""


class BalanceRow(BaseModel):
    """A class in a split of a data set."""

    split: str
    label: int
    class_name: str
    patients: int
    patches: int


class Balance(BaseModel):
    """How a data set is spread over classes and splits, and the notice of pages that show its patches."""

    notice: str
    patients: dict[str, int]
    classes: list[BalanceRow]


class DatasetPatch(BaseModel):
    """A patch of a data set."""

    patch_id: int
    name: str
    split: str
    class_name: str
    patient: str
    mammogram: str
    phenomenon: str


class DatasetPatches(PageView):
    """A page of the patches of a data set."""

    patches: list[DatasetPatch]


class Build(BaseModel):
    """A build of the sample data set, or the import of a folder."""

    build_id: str
    folder: str
    dataset_id: str | None
    state: str
    error: str
    progress: Progress
    created: str


class Builds(PageView):
    """A page of builds, newest first."""

    builds: list[Build]


class ImportFolders(BaseModel):
    """The folders that may be imported, if the operator has configured any."""

    configured: bool
    folders: list[str]


class _Document(BaseModel):
    """The parts of an OpenAPI document that forms are made from."""

    components: dict[str, dict[str, dict[str, Any]]]


class TrainingService(ServiceClient):
    """Reads data sets, runs and plans, streams their progress, and starts and controls them."""

    def __init__(self, base_url: str, shared: Shared) -> None:
        super().__init__("training service", base_url, shared)
        self._threads = anyio.CapacityLimiter(PICTURES)

    def runs(self, window: Window = FIRST_PAGE) -> ListRunsResponse:
        """A page of all runs, newest first."""
        return self.get("/v1/runs", ListRunsResponse, window.model_dump())

    def run(self, run_id: str) -> Run:
        """One run. NotFound if it does not exist."""
        return self.get(_path("run", run_id), Run)

    def start_run(self, request: Mapping[str, Any], key: str) -> Run:
        """Start a run with the fields of a StartRunRequest."""
        return self.send("POST", "/v1/runs", Run, request, key)

    def rename_run(self, run_id: str, name: str) -> Run:
        """Give a run another name."""
        return self.send("PATCH", _path("run", run_id), Run, {"name": name})

    def act_on_run(self, verb: Verb, run_id: str) -> Run:
        """Pause, resume or cancel a run."""
        return self.send("POST", f"{_path('run', run_id)}/{verb}", Run)

    def schema(self, name: str) -> dict[str, Any]:
        """The JSON schema of a request of the service: its fields with limits, defaults and descriptions."""
        return self.view("/openapi.json", _Document).components["schemas"][name]

    def datasets(self, window: Window = FIRST_PAGE) -> ListDatasetsResponse:
        """A page of all data sets, newest first."""
        return self.get("/v1/datasets", ListDatasetsResponse, window.model_dump())

    def dataset(self, dataset_id: str) -> Dataset:
        """One data set. NotFound if it does not exist."""
        return self.get(_path("dataset", dataset_id), Dataset)

    def balance(self, dataset_id: str) -> Balance:
        """The patients and patches of each class in each split."""
        return self.view(f"{_path('dataset', dataset_id)}/balance", Balance)

    def patches(self, dataset_id: str, query: Query) -> DatasetPatches:
        """A page of patches. `query` has the fields of a PatchQuery of the training service."""
        return self.view(f"{_path('dataset', dataset_id)}/patches", DatasetPatches, query)

    async def patch_picture(self, dataset_id: str, patch_id: int) -> Response:
        """The picture of a patch."""
        path = f"{_path('dataset', dataset_id)}/patches/{patch_id}/picture.jpg"
        return await anyio.to_thread.run_sync(self.fetch, path, {}, {}, ("content-type",), limiter=self._threads)

    def import_folders(self) -> ImportFolders:
        """The folders that may be imported as data sets."""
        return self.view("/v1/import-folders", ImportFolders)

    def builds(self, window: Window) -> Builds:
        """A page of builds and imports of data sets, newest first."""
        return self.view("/v1/builds", Builds, window.model_dump())

    def build(self, build_id: str) -> Build:
        """One build. NotFound if it does not exist."""
        return self.view(_path("build", build_id), Build)

    def start_build(self, request: Mapping[str, Any], key: str) -> Build:
        """Build the sample, or import a folder."""
        return self.send("POST", "/v1/builds", Build, request, key)

    def act_on_build(self, verb: Verb, build_id: str) -> Build:
        """Pause, resume or cancel a build."""
        return self.send("POST", f"{_path('build', build_id)}/{verb}", Build)

    def layouts(self) -> Layouts:
        """The layouts of raw mammograms that can be imported."""
        return self.view("/v1/import-layouts", Layouts)

    def raw_imports(self, window: Window) -> RawImports:
        """A page of imports of raw mammograms, newest first."""
        return self.view("/v1/imports", RawImports, window.model_dump())

    def raw_import(self, import_id: str) -> RawImport:
        """One import of raw mammograms. NotFound if it does not exist."""
        return self.view(_path("import", import_id), RawImport)

    def start_raw_import(self, request: Mapping[str, Any], key: str) -> RawImport:
        """Import raw mammograms, with the fields of a StartImportRequest."""
        return self.send("POST", "/v1/imports", RawImport, request, key)

    def act_on_raw_import(self, verb: Verb, import_id: str) -> RawImport:
        """Pause, resume or cancel an import of raw mammograms."""
        return self.send("POST", f"{_path('import', import_id)}/{verb}", RawImport)

    def card(self, dataset_id: str) -> tuple[Card, Report] | None:
        """The data card of a data set and the report of its import; None if it was not cut from raw mammograms."""
        path = _path("dataset", dataset_id)
        try:
            return self.view(f"{path}/card", Card), self.view(f"{path}/report", Report)
        except NotFound:
            return None

    def plans(self, window: Window) -> ListPlansResponse:
        """A page of all plans, newest first."""
        return self.get("/v1/plans", ListPlansResponse, window.model_dump())

    def start_plan(self, request: Mapping[str, Any], key: str) -> PlanStages:
        """Start a plan with the fields of a StartPlanRequest."""
        return self.send("POST", "/v1/plans", PlanStages, request, key)

    async def events(self, kind: str, task_id: str, last_event_id: str) -> Response:
        """The server-sent events of a run, a build or an import, passed on while they arrive. NotFound if it does not
        exist."""
        answer = await self.stream(
            f"{_path(kind, task_id)}/events", {"last-event-id": last_event_id}, ("content-type",)
        )
        answer.headers.update(HEADERS)
        return answer


_PLURALS = {"run": "runs", "build": "builds", "import": "imports", "dataset": "datasets"}


def _path(kind: str, name: str) -> str:
    return f"/v1/{_PLURALS[kind]}/{id_in_path(kind, name)}"
