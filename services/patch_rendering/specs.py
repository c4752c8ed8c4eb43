"""What the job of renderings receives and returns: shared by the workflow, the child process and the benches."""

from pydantic import BaseModel, ConfigDict

from services.common.blobs import ObjectRef
from services.common.work.jobs import JobFunction
from services.common.work.plan_options import PictureFormat, PictureKind
from services.imaging.manifests import RenderedGroup


class RenderSpec(BaseModel):
    """Render units `first` to `last` inclusive of a layer of an extraction. `workers` 0 means one thread per core."""

    model_config = ConfigDict(frozen=True)

    blobs_url: str
    scratch: str
    rendering_id: str
    extraction: ObjectRef
    layer: str
    first: int
    last: int
    size: int
    kind: PictureKind = "overlay"
    format: PictureFormat = "jpeg"
    quality: int = 85
    workers: int = 0
    device: str = "cpu"


class RenderedUnits(BaseModel):
    """A stored group, and the number of its pictures without contact sheets."""

    model_config = ConfigDict(frozen=True)

    group: RenderedGroup
    pictures: int


RENDER_UNITS: JobFunction[RenderSpec, RenderedUnits] = JobFunction("services.patch_rendering.job:render_units")
