"""Declares the job of evaluations."""

from pydantic import BaseModel, ConfigDict

from services.common.blobs import ObjectRef
from services.common.work.jobs import JobFunction
from services.training.evaluation.schemas import EvaluationSettings


class EvaluationSpec(BaseModel):
    """What the job `evaluate` receives: a checkpoint, and a split of a data set to evaluate it on."""

    model_config = ConfigDict(frozen=True)

    blobs_url: str
    evaluation_id: str
    dataset: ObjectRef
    checkpoint: ObjectRef
    split: str
    settings: EvaluationSettings
    device: str


EVALUATE: JobFunction[EvaluationSpec, ObjectRef] = JobFunction("services.training.evaluation.job:evaluate")
"""Returns the reference of the evaluation's manifest."""
