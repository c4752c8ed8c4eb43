"""What the patch rendering service takes and answers, over HTTP and gRPC alike."""

from pydantic import BaseModel, Field

from services.common.blobs import ObjectRef
from services.common.views import Moment, PlanRendering, Progress


class StartRenderingRequest(PlanRendering):
    """Render all layers of a completed extraction."""

    extraction_id: str = Field(max_length=64)


class RenderingView(BaseModel):
    """A rendering."""

    rendering_id: str
    plan_id: str
    extraction_id: str
    size: int
    groups: int
    groups_done: int
    pictures: int
    state: str
    error: str
    progress: Progress
    manifest: ObjectRef | None
    created: Moment
    started: Moment
    finished: Moment


class RenderingList(BaseModel):
    """All renderings, newest first."""

    renderings: list[RenderingView]
