"""Plans: the list, the form of a new one, and one plan with its stages over all services."""

from itertools import chain
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form, Request
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
from services.annotation.pages.frame import Frame
from services.annotation.pages.live import Live, Recent, watch
from services.annotation.pages.overview import page_of, pages_of, window_of_page
from services.annotation.pages.reading import sent_form
from services.annotation.pages.runs import MAIN_SETTINGS, run_fields
from services.annotation.workflow.plan_progress import SERVICE_OF, STAGES, PlanProgress, PlanView, Siblings
from services.annotation.workflow.readers import Reader
from services.common.errors import Conflict, InvalidInput, NotFound, PrimitivesError
from services.common.http.app import status_of
from services.common.observability.logs import get_logger
from services.common.paging import MOST_ITEMS, Window
from services.common.progress import Progress
from services.common.work.plan_options import PlanExtraction, PlanRendering, PlanStudy
from services.common.work.tasks import Verb
from services.common.work.views import Stage

log = get_logger(__name__)

PLANS_A_PAGE = 50
WAITING = "waiting"
"""What the page calls the state of a stage that has not begun."""

OPTIONS: dict[str, list[FormField]] = {
    "extraction": fields_of(PlanExtraction.model_json_schema(), ("layers", "split", "top_k")),
    "rendering": fields_of(PlanRendering.model_json_schema(), ("kind", "size", "format")),
    "study": fields_of(PlanStudy.model_json_schema(), ("title", "units_per_class")),
}
"""The options of the later stages of a plan. Their names are all different, so that one form can have them."""
LABELS = ("after_list", "after_answer", "always")
OWN = ("key", "source", "run_id", "checkpoint", "dataset_id", "name", "labels_shown")


class PlanForm(SentForm):
    """The form that starts a plan. Its other fields are the options of the stages, and settings of a run."""

    source: Literal["run", "train"] = "run"
    run_id: Line = ""
    checkpoint: Line = ""
    dataset_id: Line = ""
    name: Line = ""
    labels_shown: Literal["", "after_list", "after_answer", "always"] = ""

    def request(self, settings: dict[str, Any], options: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """The StartPlanRequest of the training service."""
        if self.source == "run":
            if not self.run_id:
                raise InvalidInput("choose a completed run, or train a network")
            network: dict[str, Any] = {"run_id": self.run_id, "checkpoint": self.checkpoint}
        else:
            network = {"train": settings} | ({"name": self.name} if self.name else {})
        study = options["study"] | {"labels_shown": self.labels_shown}
        return options | {"dataset": {"dataset_id": self.dataset_id}, "network": network, "study": study}


class PlanLive(Live):
    """A plan, while its page is open."""

    plan_state: str
    controlled: str
    """The state of the stage that the buttons act on; empty if there is none."""
    finished: bool
    stages: list[Stage]


def routes(frame: Frame) -> APIRouter:
    """The routes of the pages of plans."""
    router = APIRouter(include_in_schema=False)
    router.include_router(_start_routes(frame))
    router.include_router(_plan_routes(frame))
    return router


def _start_routes(frame: Frame) -> APIRouter:
    router = APIRouter()
    researcher = Annotated[Reader, Depends(frame.auth.researcher)]
    trainer = Annotated[Reader, Depends(frame.auth.trainer)]

    @router.get("/plans")
    def plans(request: Request, reader: researcher) -> Response:
        page = page_of(request)
        part = frame.training.plans(window_of_page(page, PLANS_A_PAGE))
        context: dict[str, Any] = {"plans": part.plans, "total": part.total, "page": page}
        return frame.page("plans.html", request, reader, pages=pages_of(part.total, PLANS_A_PAGE), **context)

    @router.get("/plans/new")
    def new(request: Request, reader: trainer, run: str = "", checkpoint: str = "", dataset: str = "") -> Response:
        settings = run_fields(frame)
        typed = dict.fromkeys(OWN, "") | values_of(settings)
        for fields in OPTIONS.values():
            typed |= values_of(fields)
        typed |= {"run_id": run, "checkpoint": checkpoint, "dataset_id": dataset, "labels_shown": LABELS[0]}
        typed |= {"source": "run" if run else "train", "key": new_key()}
        return _form_page(frame, request, reader, settings, typed)

    @router.post("/plans")
    def start(request: Request, reader: trainer, form: Annotated[FormData, Depends(sent_form)]) -> Response:
        frame.auth.check_control(request, "training", str(form.get("csrf", "")))
        settings = run_fields(frame)
        typed = texts_of(form, [*settings, *chain.from_iterable(OPTIONS.values())], OWN)
        try:
            sent = PlanForm.read(form)
            options = {stage: read_values(fields, typed) for stage, fields in OPTIONS.items()}
            chosen = read_values(settings, typed) if sent.source == "train" else {}
            plan = frame.training.start_plan(sent.request(chosen, options), sent.key)
        except (InvalidInput, NotFound, Conflict) as error:
            return _form_page(frame, request, reader, settings, typed, error)
        log.info("plan started on a page", plan=plan.plan_id, reader=reader.name)
        return RedirectResponse(links.plan(plan.plan_id), status_code=303)

    return router


def _plan_routes(frame: Frame) -> APIRouter:
    router = APIRouter()
    researcher = Annotated[Reader, Depends(frame.auth.researcher)]
    trainer = Annotated[Reader, Depends(frame.auth.trainer)]
    progress = PlanProgress(Siblings(frame.training, frame.extraction, frame.rendering), frame.studies)
    recent = Recent(progress.get)

    def page(request: Request, reader: Reader, plan_id: str, error: PrimitivesError | None = None) -> Response:
        plan = progress.get(plan_id)
        context: dict[str, Any] = {
            "plan": plan,
            "stages": all_stages(plan),
            "controlled": controlled_state(plan),
            "trouble": str(error) if error is not None else "",
        }
        return frame.page("plan.html", request, reader, status_of(error) if error is not None else 200, **context)

    @router.get("/plans/{plan_id}")
    def show(request: Request, plan_id: str, reader: researcher) -> Response:
        return page(request, reader, plan_id)

    @router.get("/plans/{plan_id}/events")
    def events(request: Request, plan_id: str, _: researcher) -> Response:
        return watch(frame.streams, frame.auth, request, lambda: live_view(recent.get(plan_id)))

    @router.post("/plans/{plan_id}/{verb}")
    def act(request: Request, plan_id: str, verb: Verb, reader: trainer, csrf: Annotated[str, Form()] = "") -> Response:
        frame.auth.check_control(request, "training", csrf)
        try:
            service = progress.service_of(plan_id)
            frame.auth.check_control(request, service, csrf)
            progress.act(verb, plan_id, service)
        except Conflict as error:
            return page(request, reader, plan_id, error)
        log.info("plan controlled on a page", plan=plan_id, verb=verb, service=service, reader=reader.name)
        return RedirectResponse(links.plan(plan_id), status_code=303)

    return router


def all_stages(plan: PlanView) -> list[Stage]:
    """The stages of a plan, also those that have not begun."""
    begun = {stage.name: stage for stage in plan.stages}
    absent = {name: Stage(name=name, state=WAITING, id="", progress=Progress()) for name in STAGES}
    first = next((name for name in STAGES if name in begun), STAGES[0])
    # A plan over a registered data set builds none, and one with a trained network does not train.
    return [begun.get(name, absent[name]) for name in STAGES[STAGES.index(first) :]]


def controlled_state(plan: PlanView) -> str:
    """The state of the stage that can be paused, resumed or cancelled; empty if there is none."""
    last = plan.stages[-1] if plan.stages else None
    return last.state if last is not None and last.name in SERVICE_OF else ""


def live_view(plan: PlanView) -> PlanLive:
    """The plan for its open page."""
    return PlanLive(
        over=plan.ended,
        plan_state=plan.state,
        controlled=controlled_state(plan),
        finished=plan.ended,
        stages=all_stages(plan),
    )


def _form_page(
    frame: Frame,
    request: Request,
    reader: Reader,
    settings: list[FormField],
    typed: dict[str, str],
    error: PrimitivesError | None = None,
) -> Response:  # the parts of a form that is shown again after an error
    runs = frame.training.runs(Window(limit=MOST_ITEMS)).runs
    context: dict[str, Any] = {
        "main_fields": [field for field in settings if field.name in MAIN_SETTINGS],
        "more_fields": [field for field in settings if field.name not in MAIN_SETTINGS],
        "options": OPTIONS,
        "labels": LABELS,
        "runs": [run for run in runs if run.state == "completed"],
        "datasets": frame.training.datasets(Window(limit=MOST_ITEMS)).datasets,
        "typed": typed,
        "trouble": str(error) if error is not None else "",
    }
    return frame.page("plan_new.html", request, reader, status_of(error) if error is not None else 200, **context)
