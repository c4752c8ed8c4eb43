"""Views that several services answer with."""

from datetime import datetime
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, BeforeValidator, Field

from services.common.records import ENDED, TaskColumns


def _iso(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value or ""


Moment = Annotated[str, BeforeValidator(_iso)]
"""A moment in ISO 8601, or empty."""


class Progress(BaseModel):
    """How far something is."""

    phase: str = ""
    done: float = 0
    total: float = 0
    unit: str = ""


class Stage(BaseModel):
    """One stage of a plan, as the service that does it sees it."""

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
        """The stage that a record of work stands for."""
        return cls(
            name=name,
            state=task.state,
            id=id_,
            error=task.error,
            progress=Progress.model_validate(task.progress),
            seconds=round(task.seconds, 3),
            started=task.started,
            finished=task.finished,
        )


class TaskState(Protocol):
    """Any view of a task."""

    state: str


def has_ended(view: TaskState) -> bool:
    """Whether nothing more will happen to a task, as a view of it tells."""
    return view.state in ENDED


def task_facts(task: TaskColumns) -> dict[str, Any]:
    """What every view of a task tells from the columns that all tasks have."""
    return {
        "state": task.state,
        "error": task.error,
        "progress": Progress.model_validate(task.progress),
        "created": task.created,
        "started": task.started,
        "finished": task.finished,
    }


class PlanStages(BaseModel):
    """What one service knows of a plan."""

    plan_id: str
    stages: list[Stage]

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to the stages that there are."""
        return all(map(has_ended, self.stages))


class ExtractionOptions(BaseModel):
    """How to extract."""

    split: str = Field(default="val", max_length=8)
    layers: list[Annotated[str, Field(max_length=200)]] = Field(
        default_factory=list,
        max_length=64,
        description="Names, module paths, or auto: the last layer of each size of map. Empty takes the two deepest.",
    )
    top_k: int = Field(default=64, ge=1, le=1024)
    batch_size: int = Field(
        default=32,
        ge=1,
        le=1024,
        description="Patches that one forward takes: on a CPU fewer where their maps are large, on a GPU more.",
    )


AnalysisKind = Literal["dissection", "influence", "gradient", "ablation"]
"""What a completed extraction can be analysed for; see docs/analyses.md."""


class PlanExtraction(ExtractionOptions):
    """How a plan extracts; see Plan in proto/primitives/common/v1/plan.proto. The `analyses` are begun when the
    extraction is completed; the plan goes on without waiting for them."""

    analyses: list[AnalysisKind] = Field(default_factory=list, max_length=16)


PictureKind = Literal["overlay", "heat_map", "contour", "crop", "mammogram"]
PictureFormat = Literal["jpeg", "webp"]


class PlanRendering(BaseModel):
    """How a plan renders."""

    size: int = Field(default=227, ge=32, le=1024)
    kind: PictureKind = "overlay"
    format: PictureFormat = "jpeg"


class PlanStudy(BaseModel):
    """The study that a plan opens."""

    title: str = Field(default="", max_length=200)
    units_per_class: int = Field(default=20, ge=1, le=1000)
    labels_shown: str = Field(default="after_answer", pattern="^(after_answer|always)$")
