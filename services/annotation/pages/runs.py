"""Training runs: the list, one run as it goes on, and several beside each other."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from services.annotation.clients.training import Run
from services.annotation.pages.frame import Frame
from services.annotation.workflow.readers import Reader
from services.common.errors import InvalidInput

MOST_COMPARED = 6
CURVES = ("epoch", "learning_rate", "train_loss", "val_loss", "train_accuracy", "val_accuracy", "train_auc", "val_auc")


def routes(frame: Frame) -> APIRouter:
    """The routes of the pages of runs."""
    router = APIRouter(include_in_schema=False)
    signed_in = Annotated[Reader, Depends(frame.auth.page_reader)]

    @router.get("/runs")
    def runs(request: Request, reader: signed_in) -> Response:
        return frame.page("runs.html", request, reader, runs=frame.training.runs(), most=MOST_COMPARED)

    @router.get("/runs/compare")
    def compare(
        request: Request,
        reader: signed_in,
        run: Annotated[list[str], Query()] = [],  # noqa: B006 - FastAPI copies it
    ) -> Response:
        names = list(dict.fromkeys(run))
        if len(names) > MOST_COMPARED:
            raise InvalidInput(f"Up to {MOST_COMPARED} runs are compared at once; {len(names)} were chosen.")
        chosen = [frame.training.run(run_id) for run_id in names]
        facts: dict[str, Any] = {
            "runs": chosen,
            "rows": settings_rows(chosen),
            "curves": [curves(one) for one in chosen],
        }
        return frame.page("runs_compare.html", request, reader, **facts)

    @router.get("/runs/{run_id}")
    def run(request: Request, run_id: str, reader: signed_in) -> Response:
        found = frame.training.run(run_id)
        facts: dict[str, Any] = {"run": found, "rows": settings_rows([found]), "curves": curves(found)}
        return frame.page("run.html", request, reader, **facts)

    @router.get("/runs/{run_id}/events")
    async def events(request: Request, run_id: str, _: signed_in) -> Response:
        return await frame.training.events(run_id, request.headers.get("last-event-id", ""))

    return router


def curves(run: Run) -> str:
    """What the charts of a run draw, as JSON: its name and, by epoch, the values of CURVES."""
    epochs = [{name: epoch.get(name) for name in CURVES} for epoch in run.epochs]
    return json.dumps({"run_id": run.run_id, "epochs": epochs})


def settings_rows(runs: Sequence[Run]) -> list[tuple[str, list[str], bool]]:
    """The settings of runs beside each other: name, value in each run, and whether they differ."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    rows = [("dataset", [run.dataset_id for run in runs])]
    rows += [(name, [_shown(run.settings.get(name)) for run in runs]) for name in names]
    return [(name, values, len(set(values)) > 1) for name, values in rows]


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)
