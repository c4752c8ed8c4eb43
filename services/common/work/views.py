"""Views of tasks and plans that several services answer with."""

from datetime import datetime
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from sqlalchemy import select

from services.common.errors import NotFound
from services.common.progress import Progress
from services.common.records import ENDED, Records, Requeue, TaskColumns
from services.common.redaction import quoted


def _iso(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value or ""


Moment = Annotated[str, BeforeValidator(_iso)]
"""A moment in ISO 8601, or empty."""


class TaskState(Protocol):
    """Any view of a task."""

    state: str


def has_ended(view: TaskState) -> bool:
    """Whether a task is completed, failed or cancelled."""
    return view.state in ENDED


class TaskView(BaseModel):
    """The fields that every view of a task has."""

    model_config = ConfigDict(from_attributes=True)

    state: str
    error: str
    progress: Progress
    created: Moment
    started: Moment
    finished: Moment
    requeues: list[Requeue] = []
    """When the task, after it had failed, was queued again by a replay of its parked message."""


def task_fields(task: TaskColumns) -> dict[str, Any]:
    """The values of the fields that every view of a task has."""
    return {name: getattr(task, name) for name in TaskView.model_fields}


class Stage(BaseModel):
    """One stage of a plan, as the service that performs it sees it."""

    name: str
    state: str
    id: str
    error: str = ""
    progress: Progress = Field(default_factory=Progress)
    seconds: float = 0.0
    started: Moment = ""
    finished: Moment = ""

    @classmethod
    def of(cls, name: str, id_: str, task: TaskColumns) -> "Stage":
        """The stage that a task performs."""
        return cls(
            name=name,
            state=task.state,
            id=id_,
            error=task.error,
            progress=task.progress,
            seconds=round(task.seconds, 3),
            started=task.started,
            finished=task.finished,
        )


class PlanStages(BaseModel):
    """The stages of a plan that one service performs."""

    plan_id: str
    stages: list[Stage]
    title: str = ""
    """The title of the study that the plan opens; the training service knows it."""

    @property
    def ended(self) -> bool:
        """Whether all stages that there are have ended."""
        return all(map(has_ended, self.stages))


def plan_stages(records: Records, table: type[TaskColumns], plan_id: str, name: str) -> PlanStages:
    """The stage `name` of a plan, performed by tasks of a table with a `plan_id`. NotFound before it has begun."""
    plan_column: Any = table.plan_id  # type: ignore[attr-defined]
    with records.reading() as session:
        rows = session.scalars(select(table).where(plan_column == plan_id)).all() if plan_id else []
        if not rows:
            raise no_stage(name, plan_id)
        return PlanStages(plan_id=plan_id, stages=[Stage.of(name, getattr(row, f"{name}_id"), row) for row in rows])


def no_stage(name: str, plan_id: str) -> NotFound:
    """The error of a plan that has no stage `name`, or none that the caller may see."""
    return NotFound(f"there is no {name} of a plan {quoted(plan_id)}")
