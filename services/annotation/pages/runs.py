"""Training runs: the list, one run with its progress and controls, several side by side, and the form of a new one."""

import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Depends, Form, Query, Request
from primitives.training.v1.training_pb2 import EpochMetrics, Run, RunSettings
from pydantic import BaseModel
from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response

from services.annotation.pages import links
from services.annotation.pages.forms import (
    FormField,
    Line,
    SentForm,
    fields_of,
    new_key,
    read_values,
    texts_of,
    values_of,
)
from services.annotation.pages.frame import Frame, field_value
from services.annotation.pages.live import Live, Recent, watch
from services.annotation.pages.overview import page_of, pages_of, window_of_page
from services.annotation.pages.reading import sent_form
from services.annotation.workflow.readers import Reader
from services.common.errors import Conflict, InvalidInput, NotFound, PrimitivesError
from services.common.http.app import status_of
from services.common.observability.logs import get_logger
from services.common.paging import MOST_ITEMS, Window
from services.common.work.tasks import Verb
from services.common.work.views import has_ended

log = get_logger(__name__)

MOST_COMPARED = 6
RUNS_A_PAGE = 50
MAIN_SETTINGS = (
    "architecture", "weights", "image_size", "epochs", "patience", "batch_size", "optimizer", "learning_rate",
    "balance", "seed",
)  # fmt: skip
"""The settings that the form shows at once; the others are folded."""
CURVES = ("epoch", "learning_rate", "train_loss", "val_loss", "train_accuracy", "val_accuracy", "train_auc", "val_auc")
ABSENT = "–"
Typed = Annotated[str, Form()]


class Checkpoint(NamedTuple):
    """A checkpoint of a run. `name` is its name in `primitives plan start --checkpoint`."""

    name: str
    epoch: EpochMetrics | None
    """The metrics of the epoch that the checkpoint was saved after."""
    is_default: bool
    """Whether a plan uses this checkpoint when the plan names none."""


class RunForm(SentForm):
    """The form that starts a run. The other fields are settings of the run; see `_settings_of`."""

    name: Line = ""
    dataset_id: Line = ""
    resume_from: Line = ""

    def request(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The StartRunRequest of the training service."""
        chosen = {"dataset_id": self.dataset_id, "settings": settings}
        return chosen | {field: value for field in ("name", "resume_from") if (value := getattr(self, field))}


class RunState(BaseModel):
    """What the list shows of a run."""

    run_id: str
    name: str
    state: str
    epochs: int
    of_epochs: int
    auc: str


class RunsLive(Live):
    """A page of the list, while it is open."""

    runs: list[RunState]


def routes(frame: Frame) -> APIRouter:
    """The routes of the pages of runs."""
    router = APIRouter(include_in_schema=False)
    router.include_router(_start_routes(frame))
    router.include_router(_list_routes(frame))
    router.include_router(_run_routes(frame))
    return router


def _list_routes(frame: Frame) -> APIRouter:
    router = APIRouter()
    researcher = Annotated[Reader, Depends(frame.auth.researcher)]
    recent = Recent(lambda page: frame.training.runs(window_of_page(int(page), RUNS_A_PAGE)))

    @router.get("/runs")
    def runs(request: Request, reader: researcher) -> Response:
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

    @router.get("/runs/events")
    def list_events(request: Request, _: researcher) -> Response:
        page = str(page_of(request))
        return watch(frame.streams, frame.auth, request, lambda: _live(recent.get(page).runs))

    @router.get("/runs/compare")
    def compare(
        request: Request,
        reader: researcher,
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

    return router


def _start_routes(frame: Frame) -> APIRouter:
    router = APIRouter()
    trainer = Annotated[Reader, Depends(frame.auth.trainer)]

    @router.get("/runs/new")
    def new(request: Request, reader: trainer, dataset: str = "") -> Response:
        fields = run_fields(frame)
        typed = values_of(fields) | {"name": "", "resume_from": "", "dataset_id": dataset, "key": new_key()}
        return _form_page(frame, request, reader, fields, typed)

    @router.post("/runs")
    def start(request: Request, reader: trainer, form: Annotated[FormData, Depends(sent_form)]) -> Response:
        frame.auth.check_control(request, "training", str(form.get("csrf", "")))
        fields = run_fields(frame)
        typed = texts_of(form, fields, ("name", "resume_from", "dataset_id", "key"))
        try:
            sent = RunForm.read(form)
            run = frame.training.start_run(sent.request(read_values(fields, typed)), sent.key)
        except (InvalidInput, NotFound, Conflict) as error:
            return _form_page(frame, request, reader, fields, typed, error)
        log.info("run started on a page", run=run.run_id, reader=reader.name)
        return RedirectResponse(links.run(run.run_id), status_code=303)

    return router


def _run_routes(frame: Frame) -> APIRouter:
    router = APIRouter()
    researcher = Annotated[Reader, Depends(frame.auth.researcher)]
    trainer = Annotated[Reader, Depends(frame.auth.trainer)]

    def page(request: Request, reader: Reader, run_id: str, error: PrimitivesError | None = None) -> Response:
        found = frame.training.run(run_id)
        context: dict[str, Any] = {
            "run": found,
            "ended": has_ended(found),
            "best": best_epoch(found),
            "checkpoints": checkpoints(found),
            "rows": settings_rows([found]),
            "curves": curves(found),
            "trouble": str(error) if error is not None else "",
        }
        return frame.page("run.html", request, reader, status_of(error) if error is not None else 200, **context)

    @router.get("/runs/{run_id}")
    def run(request: Request, run_id: str, reader: researcher) -> Response:
        return page(request, reader, run_id)

    @router.get("/runs/{run_id}/events")
    async def events(request: Request, run_id: str, _: researcher) -> Response:
        return await frame.training.events("run", run_id, request.headers.get("last-event-id", ""))

    @router.post("/runs/{run_id}/name")
    def rename(request: Request, run_id: str, reader: trainer, name: Typed = "", csrf: Typed = "") -> Response:
        frame.auth.check_control(request, "training", csrf)
        try:
            frame.training.rename_run(run_id, name)
        except InvalidInput as error:
            return page(request, reader, run_id, error)
        return RedirectResponse(links.run(run_id), status_code=303)

    @router.post("/runs/{run_id}/{verb}")
    def act(request: Request, run_id: str, verb: Verb, reader: trainer, csrf: Typed = "") -> Response:
        frame.auth.check_control(request, "training", csrf)
        try:
            frame.training.act_on_run(verb, run_id)
        except Conflict as error:
            return page(request, reader, run_id, error)
        log.info("run controlled on a page", run=run_id, verb=verb, reader=reader.name)
        return RedirectResponse(links.run(run_id), status_code=303)

    return router


def _form_page(
    frame: Frame,
    request: Request,
    reader: Reader,
    fields: list[FormField],
    typed: dict[str, str],
    error: PrimitivesError | None = None,
) -> Response:  # the parts of a form that is shown again after an error
    context: dict[str, Any] = {
        "main_fields": [field for field in fields if field.name in MAIN_SETTINGS],
        "more_fields": [field for field in fields if field.name not in MAIN_SETTINGS],
        "datasets": frame.training.datasets(Window(limit=MOST_ITEMS)).datasets,
        "typed": typed,
        "trouble": str(error) if error is not None else "",
    }
    return frame.page("run_new.html", request, reader, status_of(error) if error is not None else 200, **context)


def run_fields(frame: Frame) -> list[FormField]:
    """The settings of a run as the training service declares them: the main ones first."""
    fields = {field.name: field for field in fields_of(frame.training.schema("RunSettings"))}
    return [fields[name] for name in dict.fromkeys((*MAIN_SETTINGS, *fields)) if name in fields]


def _live(runs: Iterable[Run]) -> RunsLive:
    return RunsLive(
        runs=[
            RunState(
                run_id=run.run_id,
                name=run.name,
                state=run.state,
                epochs=len(run.epochs),
                of_epochs=run.settings.epochs,
                auc=f"{best.val_auc:.4f}" if (best := best_epoch(run)) is not None else ABSENT,
            )
            for run in runs
        ]
    )


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
    """The data of a run's charts as JSON: the run's id and name and, by epoch, the values of CURVES."""
    epochs = [{name: field_value(epoch, name) for name in CURVES} for epoch in run.epochs]
    return json.dumps({"run_id": run.run_id, "name": run.name or run.run_id, "epochs": epochs})


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
