"""Requests and views of analyses, the same over HTTP and gRPC."""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from services.common.blobs import ObjectRef
from services.common.paging import PageView
from services.common.work.views import TaskView


class AnalysisView(TaskView):
    """An analysis of a completed extraction. Once it is completed, `layers` are the names of the layers with
    results."""

    analysis_id: str
    extraction_id: str
    plan_id: str
    kind: str
    settings: dict[str, Any]
    pieces: int
    pieces_done: int
    manifest: ObjectRef | None
    layers: list[str] = Field(default=[])


class AnalysisList(PageView):
    """A page of the analyses of an extraction, newest first."""

    analyses: list[AnalysisView]


class TableQuery(BaseModel):
    """Which rows of a table."""

    offset: int = Field(default=0, ge=0, lt=2**31)
    limit: int = Field(default=100, ge=0, le=1000)
    units: list[Annotated[int, Field(ge=0, lt=2**31)]] = Field(
        default=[], max_length=1000, description="Only the rows of these units, by channel; none takes all rows."
    )


class AnalysisTable(BaseModel):
    """A part of the result of an analysis for a layer: rows from `offset` of the `total` of the requested units, with
    the columns of the kind (see docs/analyses.md), and the unit's `name`."""

    analysis_id: str
    kind: str
    layer: str
    offset: int
    total: int
    rows: list[dict[str, Any]]
