"""The routes of plans, for every service that does a stage of a plan."""

from collections.abc import Callable

from fastapi import APIRouter, Request, Response

from services.common.http.streams import EventStream, Streams
from services.common.work.tasks import Verb
from services.common.work.views import PlanStages


def add_plan_routes(
    router: APIRouter,
    get: Callable[[str], PlanStages],
    act: Callable[[Verb, str], None],
    streams: Streams,
    ended: Callable[[PlanStages], bool] = lambda plan: plan.ended,
) -> None:
    """Add the routes that answer with the stages of this service, and that act on them. `ended` returns whether the
    service has done its part of a plan."""

    @router.get("/plans/{plan_id}", tags=["plans"])
    def get_plan(plan_id: str) -> PlanStages:
        """The stages of a plan that this service does."""
        return get(plan_id)

    @router.post("/plans/{plan_id}/{verb}", status_code=202, tags=["plans"])
    def act_on_plan(plan_id: str, verb: Verb) -> PlanStages:
        """Pause, resume or cancel what this service does for a plan. Later stages do not begin while it is paused, nor
        once it is cancelled."""
        act(verb, plan_id)
        return get(plan_id)

    @router.get("/plans/{plan_id}/events", response_class=EventStream, tags=["plans"])
    def watch_plan(plan_id: str, request: Request) -> Response:
        """Server-sent events: the stages that this service does, again whenever they have changed, until they have
        ended."""
        return streams.events(request, lambda: get(plan_id), ended)
