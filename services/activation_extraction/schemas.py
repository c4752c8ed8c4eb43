"""What the activation extraction service takes and answers, over HTTP and gRPC alike."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from services.common.blobs import ObjectRef
from services.common.work.plan_options import ExtractionOptions
from services.common.work.views import TaskView


class StartExtractionRequest(ExtractionOptions):
    """Extract from the network of a completed run, over the data set that it was trained on."""

    run_id: str = Field(max_length=64)


class LayerView(BaseModel):
    """The results of one layer."""

    name: str
    module: str
    units: int
    height: int
    width: int
    ranking_method: str


class ExtractionView(TaskView):
    """An extraction; `results` is there once it is completed, and so is what it is of: the network's architecture and
    classes, the data set's name, and the `notice` that every page which shows its patches gives."""

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
    manifest: ObjectRef | None
    results: list[LayerView] = Field(default=[])
    architecture: str = ""
    classes: list[str] = Field(default=[])
    dataset: str = ""
    notice: str = ""


class ExtractionList(BaseModel):
    """All extractions, newest first."""

    extractions: list[ExtractionView]


Ranking = Literal["own", "influence", "gradient", "ablation"]
"""A ranking of units by what they matter to a class: the layer's own, which every extraction has, or an analysis."""


class UnitsQuery(BaseModel):
    """Which units of a layer, in which order. `label` is the class that AUCs and ranks are of (the last by default);
    without `descending` units and ranks come lowest first and everything else largest first; what a unit lacks comes
    last, and equal units by their number. `search` is part of a unit's name or of its best phenomenon."""

    sort: Ranking | Literal["unit", "mean", "deviation", "maximum", "active", "auc", "iou"] = "unit"
    descending: bool | None = None
    label: int | None = Field(default=None, ge=0)
    silent: bool | None = None
    search: str = Field(default="", max_length=100)
    among: list[Annotated[int, Field(ge=0)]] = Field(default_factory=list, max_length=500)
    offset: int = Field(default=0, ge=0, lt=2**31)
    limit: int = Field(default=50, ge=0, le=500)


class UnitRank(BaseModel):
    """The place of a unit in a ranking for a class, from 1. `count` is null where nothing is counted."""

    ranking: Ranking
    label: int
    rank: int
    score: float
    count: int | None


class PhenomenonView(BaseModel):
    """How well a unit's map above a threshold agrees with the outlines of a phenomenon; the interval of the IoU is over
    patients."""

    phenomenon: str
    threshold: float
    iou: float | None
    iou_low: float | None
    iou_high: float | None
    precision: float | None
    recall: float | None


class UnitSummary(BaseModel):
    """A unit in a list. `active` is the share of patches above zero; a silent unit is above zero on none.
    `duplicate_of` is the lowest unit of which it is a near-duplicate; `best` the phenomenon that it agrees with most,
    by the newest dissection."""

    unit: int
    name: str
    silent: bool
    mean: float
    deviation: float
    maximum: float
    active: float
    auc_by_class: list[float | None]
    ranks: list[UnitRank] = []
    duplicate_of: int | None = None
    best: PhenomenonView | None = None


class UnitList(BaseModel):
    """A window of the units of a layer that a query finds. `order` has the numbers of all that it finds, in order;
    `rankings` those that there are, the layer's own being by `ranking_method`."""

    layer: str
    classes: list[str]
    ranking_method: str
    rankings: list[Ranking]
    dissected: bool
    units: list[UnitSummary]
    total: int
    order: list[int]


class TopPatch(BaseModel):
    """One of a unit's top patches; row and column are those of the maximum in the layer's map."""

    rank: int
    value: float
    patch_id: int
    patch: str
    label: int
    phenomenon: str
    mammogram: str
    row: int
    column: int


class SamplePatch(BaseModel):
    """One of the patches that were drawn by chance, the same ones for all units; rank from 1 by falling maximum of the
    unit's map."""

    rank: int
    value: float
    patch_id: int
    patch: str
    label: int
    phenomenon: str
    mammogram: str


class QuantileView(BaseModel):
    """The maximum below which a fraction of the patches lies."""

    fraction: float
    value: float


class ThresholdView(BaseModel):
    """The activation that a share of all places of all maps exceeds."""

    share: float
    activation: float


class ClassDistribution(BaseModel):
    """A unit's maxima over the patches of one class, and how well they tell it from the rest; null and empty where the
    split has none."""

    label: int
    class_name: str
    auc: float | None
    mean: float | None
    quantiles: list[QuantileView]


class SimilarUnit(BaseModel):
    """A unit of the same layer, with the correlation of its maxima."""

    unit: int
    name: str
    correlation: float


class UnitView(UnitSummary):
    """A unit with all that is known of it: the distribution of its maxima over the split, units like it (`duplicates`
    are near-duplicates), its dissection, its top patches and the sample, largest first."""

    layer: str
    minimum: float
    quantiles: list[QuantileView]
    thresholds: list[ThresholdView]
    classes: list[ClassDistribution]
    similar: list[SimilarUnit]
    duplicates: list[int]
    dissection: list[PhenomenonView]
    top: list[TopPatch]
    sample: list[SamplePatch]
