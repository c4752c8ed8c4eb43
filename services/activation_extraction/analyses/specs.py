"""What the jobs of analyses receive and return: shared by the workflow and the child process."""

from pydantic import BaseModel, ConfigDict

from services.activation_extraction.analyses.settings import AnalysisSettings
from services.common.blobs import ObjectRef
from services.common.work.jobs import JobFunction


class AnalysisSpec(BaseModel):
    """An analysis of a completed extraction, whose manifest is `extraction`."""

    model_config = ConfigDict(frozen=True)

    blobs_url: str
    analysis_id: str
    extraction: ObjectRef
    settings: AnalysisSettings
    batch_size: int
    device: str


class PieceSpec(AnalysisSpec):
    """One piece of an analysis, numbered from 0."""

    piece: int


class MergeSpec(AnalysisSpec):
    """An analysis with the states of all its pieces, in order."""

    pieces: list[ObjectRef]


ANALYSE_PIECE: JobFunction[PieceSpec, ObjectRef] = JobFunction(
    "services.activation_extraction.analyses.job:analyse_piece"
)
"""Returns the reference of the piece's state."""

MERGE_ANALYSIS: JobFunction[MergeSpec, ObjectRef] = JobFunction(
    "services.activation_extraction.analyses.job:merge_analysis"
)
"""Returns the reference of the analysis's manifest."""
