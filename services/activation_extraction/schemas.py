"""Requests and views of the activation extraction service, the same over HTTP and gRPC."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from services.common.blobs import ObjectRef
from services.common.paging import PageView
from services.common.work.plan_options import ExtractionOptions
from services.common.work.views import TaskView


class StartExtractionRequest(ExtractionOptions):
    """Extract from the network of a completed run, over the data set of the run."""

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
    """An extraction. Once it is completed it also has `results`, the network's architecture and classes, the data set's
    name, and the `notice` that every page with its patches shows."""

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


class ExtractionList(PageView):
    """A page of all extractions, newest first."""

    extractions: list[ExtractionView]


Ranking = Literal["own", "influence", "gradient", "ablation"]
"""A ranking of units by their importance for a class: the layer's own, which every extraction has, or an analysis."""


class UnitsQuery(BaseModel):
    """Which units of a layer, in which order. `label` is the class of AUCs and ranks, by default the last class. By
    default, units and ranks are sorted smallest first, everything else largest first. Units without the value come
    last, equal units by channel. `search` is a part of the unit's name or of its best phenomenon. `among` are channels
    from 0."""

    sort: Ranking | Literal["unit", "mean", "deviation", "maximum", "active", "auc", "iou"] = "unit"
    descending: bool | None = None
    label: int | None = Field(default=None, ge=0)
    silent: bool | None = None
    search: str = Field(default="", max_length=100)
    among: list[Annotated[int, Field(ge=0)]] = Field(default_factory=list, max_length=500)
    offset: int = Field(default=0, ge=0, lt=2**31)
    limit: int = Field(default=50, ge=0, le=500)


class UnitRank(BaseModel):
    """The rank of a unit for a class, from 1. `count` is null in rankings that count nothing."""

    ranking: Ranking
    label: int
    rank: int
    score: float
    count: int | None


class PhenomenonView(BaseModel):
    """How well a unit's map above a threshold agrees with the outlines of a phenomenon. The interval of the IoU is over
    patients."""

    phenomenon: str
    threshold: float
    iou: float | None
    iou_low: float | None
    iou_high: float | None
    precision: float | None
    recall: float | None


class UnitSummary(BaseModel):
    """A unit in a list: `unit` is its channel from 0. `active` is the share of patches with a maximum above zero; a
    silent unit has none. `duplicate_of` is the lowest unit of which it is a near-duplicate, `duplicate_of_name` the
    name of that unit. `best` is the phenomenon with which it agrees best in the newest dissection."""

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
    duplicate_of_name: str | None = None
    best: PhenomenonView | None = None


class UnitList(BaseModel):
    """A part of the units that a query finds in a layer. `order` are the channels of all units that it finds, in order.
    `rankings` are the rankings that exist; the method of the layer's own ranking is `ranking_method`."""

    layer: str
    classes: list[str]
    ranking_method: str
    rankings: list[Ranking]
    dissected: bool
    units: list[UnitSummary]
    total: int
    order: list[int]


class TopPatch(BaseModel):
    """One of a unit's top patches, with the row and column of the maximum in the layer's map."""

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
    """One of the sample patches, which are the same for all units, with its rank from 1 by falling maximum of the
    unit's map."""

    rank: int
    value: float
    patch_id: int
    patch: str
    label: int
    phenomenon: str
    mammogram: str


class QuantileView(BaseModel):
    """The quantile of the maxima: a fraction of the patches has a maximum of at most `value`."""

    fraction: float
    value: float


class ThresholdView(BaseModel):
    """The activation that a share of all positions of all maps exceeds."""

    share: float
    activation: float


class ClassDistribution(BaseModel):
    """A unit's maxima over the patches of one class, and how well they separate it from the rest. Null and empty if the
    split has no patch of the class."""

    label: int
    class_name: str
    auc: float | None
    mean: float | None
    quantiles: list[QuantileView]


class SimilarUnit(BaseModel):
    """A unit of the same layer, with the correlation of the maxima."""

    unit: int
    name: str
    correlation: float


class UnitView(UnitSummary):
    """Everything that is recorded about a unit: the distribution of its maxima over the split, similar units, near-
    duplicates (channels in `duplicates`, names in `duplicate_names`), its dissection, and its top patches and sample
    patches, largest first."""

    layer: str
    minimum: float
    quantiles: list[QuantileView]
    thresholds: list[ThresholdView]
    classes: list[ClassDistribution]
    similar: list[SimilarUnit]
    duplicates: list[int]
    duplicate_names: list[str]
    dissection: list[PhenomenonView]
    top: list[TopPatch]
    sample: list[SamplePatch]
