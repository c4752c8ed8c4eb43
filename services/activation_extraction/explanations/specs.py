"""What the job of explanations receives and returns: shared by the workflow and the child process."""

from pydantic import BaseModel, ConfigDict

from services.activation_extraction.explanations.schemas import ExplanationSettings
from services.common.blobs import ObjectRef
from services.common.work.jobs import JobFunction


class ExplanationSpec(BaseModel):
    """A mammogram that is explained with the network of a completed extraction, whose manifest is `extraction`."""

    model_config = ConfigDict(frozen=True)

    blobs_url: str
    explanation_id: str
    extraction: ObjectRef
    mammogram: ObjectRef
    settings: ExplanationSettings
    batch_size: int
    device: str
    scratch: str


EXPLAIN: JobFunction[ExplanationSpec, ObjectRef] = JobFunction(
    "services.activation_extraction.explanations.job:explain_mammogram"
)
"""Returns the reference of the explanation."""
