"""What the service takes and answers about analyses, over HTTP and gRPC alike."""

from typing import Any

from pydantic import BaseModel, Field

from services.common.blobs import ObjectRef
from services.common.work.views import TaskView


class AnalysisView(TaskView):
    """An analysis of a completed extraction; `layers` has the names of those with results once it is completed."""

    analysis_id: str
    extraction_id: str
    plan_id: str
    kind: str
    settings: dict[str, Any]
    pieces: int
    pieces_done: int
    manifest: ObjectRef | None
    layers: list[str] = Field(default=[])


class AnalysisList(BaseModel):
    """The analyses of an extraction, newest first."""

    analyses: list[AnalysisView]


class TableQuery(BaseModel):
    """Which rows of a table."""

    offset: int = Field(default=0, ge=0, lt=2**31)
    limit: int = Field(default=100, ge=0, le=1000)


class AnalysisTable(BaseModel):
    """A part of what an analysis found of a layer: rows from `offset` of the `total`, with the columns of its kind (see
    docs/analyses.md)."""

    analysis_id: str
    kind: str
    layer: str
    offset: int
    total: int
    rows: list[dict[str, Any]]
