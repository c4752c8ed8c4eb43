"""A service with one task and the stages of plans, which a test changes while a client follows them."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from pydantic import BaseModel

from services.common.errors import Conflict, NotFound
from services.common.http.app import create_app
from services.common.http.plan_routes import add_plan_routes
from services.common.http.streams import EventStream, Streams
from services.common.progress import Progress
from services.common.work.tasks import ALLOWED, PAST, Verb
from services.common.work.views import PlanStages, Stage, has_ended

TO = {"pause": "paused", "resume": "queued", "cancel": "cancelled"}


class TaskSeen(BaseModel):
    """The view of the task."""

    state: str = "running"
    error: str = ""
    progress: Progress = Progress(phase="working", done=0, total=10, unit="parts")


@dataclass
class FollowedService:
    """The records of a service, which outlive the servers that answer from them."""

    task: TaskSeen = field(default_factory=TaskSeen)
    stages: dict[str, list[Stage]] = field(default_factory=dict)
    """The stages of this service by plan."""
    last_ids: list[str] = field(default_factory=list)
    """The Last-Event-ID of each stream, or empty."""
    plan_reads: int = 0
    on_read: Callable[[int], None] = lambda _: None
    """Called with the number of earlier reads before the stages of a plan are read."""

    def app(self, streams: Streams | None = None) -> FastAPI:
        """Make the application of one process of the service."""
        app = create_app("training", ready=lambda: True)
        router, streams = APIRouter(prefix="/v1"), streams or Streams()

        @router.get("/tasks/task-1")
        def get_task() -> TaskSeen:
            return self.task

        @router.get("/tasks/task-1/events", response_class=EventStream)
        def watch_task(request: Request) -> Response:
            self.last_ids.append(request.headers.get("last-event-id", ""))
            return streams.events(request, lambda: self.task, has_ended)

        add_plan_routes(router, self.plan, self.act, streams)
        app.include_router(router)
        return app

    def plan(self, plan_id: str) -> PlanStages:
        """Return the stages of a plan. NotFound if this service has none."""
        self.on_read(self.plan_reads)
        self.plan_reads += 1
        if plan_id not in self.stages:
            raise NotFound(f"there is no plan {plan_id!r}")
        return PlanStages(plan_id=plan_id, stages=self.stages[plan_id])

    def act(self, verb: Verb, plan_id: str) -> None:
        """Act on the last stage of a plan, by the rules of tasks."""
        stage = self.plan(plan_id).stages[-1]
        if stage.state not in ALLOWED[verb]:
            raise Conflict(f"{stage.id} is {stage.state} and cannot be {PAST[verb]}")
        stage.state = TO[verb]


@dataclass
class Notices:
    """The lines that a follower prints. `first` is set with the first of them."""

    lines: list[str] = field(default_factory=list)
    first: threading.Event = field(default_factory=threading.Event)

    def __call__(self, line: str) -> None:
        """Record a line."""
        self.lines.append(line)
        self.first.set()


def stage(name: str, state: str, **changes: Any) -> Stage:
    """Return a stage of a plan."""
    return Stage(name=name, state=state, id=f"{name}-1", **changes)
