"""What the activation extraction service takes and answers, over HTTP and gRPC alike."""

from pydantic import BaseModel, Field

from services.common.blobs import ObjectRef
from services.common.views import Moment, PlanExtraction, Progress


class StartExtractionRequest(PlanExtraction):
    """Extract from the network of a completed run, over the data set that it was trained on."""

    run_id: str = Field(max_length=64)


class LayerView(BaseModel):
    """The results of one layer."""

    name: str
    module: str
    units: int
    ranking_method: str


class ExtractionView(BaseModel):
    """An extraction; `results` is there once it is completed."""

    extraction_id: str
    plan_id: str
    run_id: str
    split: str
    layers: list[str]
    top_k: int
    batch_size: int
    shards: int
    shards_done: int
    patches: int
    state: str
    error: str
    progress: Progress
    manifest: ObjectRef | None
    results: list[LayerView] = []
    created: Moment
    started: Moment
    finished: Moment


class ExtractionList(BaseModel):
    """All extractions, newest first."""

    extractions: list[ExtractionView]


class TopPatch(BaseModel):
    """One of a unit's top patches; row and column are those of the maximum in the layer's map."""

    rank: int
    value: float
    patch_id: int
    patch: str
    label: int
    mammogram: str
    row: int
    column: int


class UnitView(BaseModel):
    """A unit with its statistics over the split's maxima; `active` is the share of patches above zero."""

    layer: str
    unit: int
    name: str
    silent: bool
    mean: float
    deviation: float
    minimum: float
    maximum: float
    active: float
    auc_by_class: list[float | None]
    top: list[TopPatch]
