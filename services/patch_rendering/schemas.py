"""Requests and answers of the patch rendering service, the same over HTTP and gRPC."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from services.common.blobs import ObjectRef
from services.common.paging import PageView
from services.common.work.plan_options import PictureFormat, PictureKind, PlanRendering
from services.common.work.views import TaskView


class StartRenderingRequest(PlanRendering):
    """Render all layers of a completed extraction."""

    extraction_id: str = Field(max_length=64)


class RenderingView(TaskView):
    """A rendering."""

    rendering_id: str
    plan_id: str
    extraction_id: str
    size: int
    kind: str
    format: str
    quality: int
    groups: int
    groups_done: int
    pictures: int
    manifest: ObjectRef | None


class RenderingList(PageView):
    """A page of all renderings, newest first."""

    renderings: list[RenderingView]


class PictureQuery(BaseModel):
    """How a unit's picture is drawn. `source` is called `from` in a query. It is `top` for the top patches, or `sample`
    for the sample patches, which are drawn at random and the same for all units of the layer. In both, rank 1 has the
    largest value."""

    model_config = ConfigDict(populate_by_name=True)

    source: Literal["top", "sample"] = Field(default="top", alias="from")
    kind: PictureKind = "overlay"
    size: int = Field(default=227, ge=32, le=1024)


class SheetQuery(PictureQuery):
    """How a sheet of a unit's pictures is drawn: in rows of 8, from rank `first` on, at half the size."""

    size: int = Field(default=227, ge=32, le=512)
    first: int = 1
    count: int = Field(default=64, ge=1, le=64)


class UnitPictureRequest(PictureQuery):
    """One picture of a unit (channel from 0) of a completed extraction."""

    extraction_id: str
    layer: str
    unit: int = 0
    rank: int = 0
    format: PictureFormat = "jpeg"


class UnitSheetRequest(SheetQuery):
    """Pictures of a unit (channel from 0) of a completed extraction on one sheet."""

    extraction_id: str
    layer: str
    unit: int = 0
    format: PictureFormat = "jpeg"
