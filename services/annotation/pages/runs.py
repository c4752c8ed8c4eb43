"""Training runs: the list, one run with its progress, and several side by side."""

import json
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Depends, Query, Request
from primitives.training.v1.training_pb2 import EpochMetrics, Run, RunSettings
from starlette.responses import Response

from services.annotation.pages.frame import Frame, field_value
from services.annotation.pages.overview import page_of, pages_of, window_of_page
from services.annotation.workflow.readers import Reader
from services.common.errors import InvalidInput
from services.common.work.views import has_ended

MOST_COMPARED = 6
RUNS_A_PAGE = 100
CURVES = ("epoch", "learning_rate", "train_loss", "val_loss", "train_accuracy", "val_accuracy", "train_auc", "val_auc")
ABSENT = "–"


class Checkpoint(NamedTuple):
    """A checkpoint of a run. `name` is its name in `primitives plan start --checkpoint`."""

    name: str
    epoch: EpochMetrics | None
    """The metrics of the epoch that the checkpoint was saved after."""
    is_default: bool
    """Whether a plan uses this checkpoint when the plan names none."""


def routes(frame: Frame) -> APIRouter:
    """The routes of the pages of runs."""
    router = APIRouter(include_in_schema=False)
    signed_in = Annotated[Reader, Depends(frame.auth.page_reader)]

    @router.get("/runs")
    def runs(request: Request, reader: signed_in) -> Response:
        page = page_of(request)
        part = frame.training.runs(window_of_page(page, RUNS_A_PAGE))
        context: dict[str, Any] = {
            "runs": [(run, best_epoch(run)) for run in part.runs],
            "most": MOST_COMPARED,
            "total": part.total,
            "page": page,
            "pages": pages_of(part.total, RUNS_A_PAGE),
        }
        return frame.page("runs.html", request, reader, **context)

    @router.get("/runs/compare")
    def compare(
        request: Request,
        reader: signed_in,
        run: Annotated[list[str], Query()] = [],  # noqa: B006 - FastAPI copies it
    ) -> Response:
        names = list(dict.fromkeys(run))
        if len(names) > MOST_COMPARED:
            raise InvalidInput(f"Up to {MOST_COMPARED} runs are compared at once; {len(names)} were selected.")
        selected = [frame.training.run(run_id) for run_id in names]
        context: dict[str, Any] = {
            "runs": selected,
            "rows": settings_rows(selected),
            "curves": [curves(one) for one in selected],
        }
        return frame.page("runs_compare.html", request, reader, **context)

    @router.get("/runs/{run_id}")
    def run(request: Request, run_id: str, reader: signed_in) -> Response:
        found = frame.training.run(run_id)
        context: dict[str, Any] = {
            "run": found,
            "ended": has_ended(found),
            "best": best_epoch(found),
            "checkpoints": checkpoints(found),
            "rows": settings_rows([found]),
            "curves": curves(found),
        }
        return frame.page("run.html", request, reader, **context)

    @router.get("/runs/{run_id}/events")
    async def events(request: Request, run_id: str, _: signed_in) -> Response:
        return await frame.training.events(run_id, request.headers.get("last-event-id", ""))

    return router


def best_epoch(run: Run) -> EpochMetrics | None:
    """The first epoch with the highest validation AUC; None if no epoch has one."""
    measured = [epoch for epoch in run.epochs if epoch.HasField("val_auc")]
    return max(measured, key=lambda epoch: epoch.val_auc, default=None)


def checkpoints(run: Run) -> list[Checkpoint]:
    """The checkpoints that a plan can start from: the best, the last, and those of kept epochs."""
    by_number = {epoch.epoch: epoch for epoch in run.epochs}
    found = []
    if run.HasField("best_checkpoint"):
        found.append(("best", run.best_checkpoint, best_epoch(run)))
    if run.HasField("last_checkpoint"):
        found.append(("last", run.last_checkpoint, run.epochs[-1] if run.epochs else None))
    found += [(str(kept.epoch), kept.checkpoint, by_number.get(kept.epoch)) for kept in run.checkpoints]
    return [Checkpoint(name, epoch, reference == run.checkpoint) for name, reference, epoch in found]


def curves(run: Run) -> str:
    """The data of a run's charts as JSON: the run's id and, by epoch, the values of CURVES."""
    epochs = [{name: field_value(epoch, name) for name in CURVES} for epoch in run.epochs]
    return json.dumps({"run_id": run.run_id, "epochs": epochs})


def settings_rows(runs: Sequence[Run]) -> list[tuple[str, list[str], bool]]:
    """The settings of runs side by side: name, value in each run, and whether the values differ.

    A setting that no run has gets no row.
    """
    rows = [("dataset", [run.dataset_id for run in runs])]
    for setting in [field.name for field in RunSettings.DESCRIPTOR.fields]:
        values = [_value_in_words(run.settings, setting) for run in runs]
        if set(values) != {ABSENT}:
            rows.append((setting, values))
    return [(name, values, len(set(values)) > 1) for name, values in rows]


def _value_in_words(settings: RunSettings, setting: str) -> str:
    value = field_value(settings, setting)
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str | int):
        return str(value)
    return ", ".join(map(str, value)) or "none"
