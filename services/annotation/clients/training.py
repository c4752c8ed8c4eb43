"""The training service as the pages of runs see it: over its HTTP API."""

from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, Field
from starlette.responses import Response

from services.annotation.clients.http import Sibling
from services.common.http.streams import HEADERS
from services.common.records import ENDED
from services.common.runtime.status import ServiceStatus
from services.common.settings import Shared
from services.common.work.views import Progress


class Checkpoint(BaseModel):
    """A checkpoint to pick, and how `primitives plan start --checkpoint` names it."""

    name: str
    epoch: dict[str, Any] | None
    """The metrics of the epoch after which it was kept."""
    for_later_stages: bool
    """Whether a plan takes it that names none."""


class Run(BaseModel):
    """A run, as far as the pages show it; see RunView of the training service."""

    run_id: str
    dataset_id: str
    settings: dict[str, Any]
    state: str
    error: str
    progress: Progress
    epochs: list[dict[str, Any]]
    created: str
    started: str
    finished: str
    checkpoint: dict[str, Any] | None = None
    best_checkpoint: dict[str, Any] | None = None
    last_checkpoint: dict[str, Any] | None = None
    kept: list[dict[str, Any]] = Field(default_factory=list, validation_alias="checkpoints")

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ENDED

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """What there is to pick: the best, the last, and those of kept epochs."""
        by_number = {epoch["epoch"]: epoch for epoch in self.epochs}
        offered = [
            ("best", self.best_checkpoint, self.best),
            ("last", self.last_checkpoint, self.epochs[-1] if self.epochs else None),
            *((str(one["epoch"]), one["checkpoint"], by_number.get(one["epoch"])) for one in self.kept),
        ]
        return [
            Checkpoint(name=name, epoch=epoch, for_later_stages=ref == self.checkpoint)
            for name, ref, epoch in offered
            if ref is not None
        ]

    @property
    def best(self) -> dict[str, Any] | None:
        """The epoch with the highest validation AUC; None before there is one."""
        measured = [epoch for epoch in self.epochs if epoch.get("val_auc") is not None]
        return max(measured, key=lambda epoch: epoch["val_auc"], default=None)


class _Runs(BaseModel):
    runs: list[Run]


class TrainingService:
    """Its runs, listed, one by one, and as they go on."""

    def __init__(self, base_url: str, shared: Shared) -> None:
        self._service = Sibling("training service", base_url, shared)

    def runs(self) -> list[Run]:
        """All runs, newest first."""
        return self._service.get("/v1/runs", _Runs).runs

    def run(self, run_id: str) -> Run:
        """One run. NotFound if there is none."""
        return self._service.get(f"/v1/runs/{quote(run_id, '')}", Run)

    def status(self) -> ServiceStatus:
        """What it says of itself."""
        return self._service.get("/v1/status", ServiceStatus)

    async def events(self, run_id: str, last_event_id: str) -> Response:
        """The stream of a run's progress, passed on as it comes. NotFound if there is no such run."""
        path = f"/v1/runs/{quote(run_id, '')}/events"
        answer = await self._service.pass_on(path, {"last-event-id": last_event_id}, ("content-type",))
        answer.headers.update(HEADERS)
        return answer
