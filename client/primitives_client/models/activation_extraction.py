"""Requests and answers of the activation extraction service.

Written by `python -m deploy.release.client_models`; do not edit.
"""

from typing import Any, Literal

from pydantic import Field

from primitives_client.models.base import Answer, Request
from primitives_client.models.common import ObjectRef, Progress, Requeue


class AblationSettings(Request):
    """How units are ranked by ablation."""

    layers: list[str] = Field(default=[])
    """The extracted layers to analyse; none names all."""
    patches: int = 1000
    """Patches at most, drawn at random; 0 takes the whole split."""
    seed: int = 7
    """The same seed draws the same patches."""
    kind: Literal["ablation"] = "ablation"
    units: list[int] = Field(default=[])
    """The channels from 0 of the units to silence, the same ones in each layer; none names all."""


class AnalysisView(Answer):
    """An analysis of a completed extraction. Once it is completed, `layers` are the names of the layers with
    results."""

    state: str
    error: str
    progress: Progress
    created: str
    started: str
    finished: str
    requeues: list[Requeue] = Field(default=[])
    analysis_id: str
    extraction_id: str
    plan_id: str
    kind: str
    settings: dict[str, Any]
    pieces: int
    pieces_done: int
    manifest: ObjectRef | None
    layers: list[str] = Field(default=[])


class AnalysisList(Answer):
    """A page of the analyses of an extraction, newest first."""

    total: int
    next_offset: int | None
    analyses: list[AnalysisView]


class AnalysisTable(Answer):
    """A part of the result of an analysis for a layer: rows from `offset` of the `total`, with the columns of the
    kind (see docs/analyses.md), and the unit's `name`."""

    analysis_id: str
    kind: str
    layer: str
    offset: int
    total: int
    rows: list[dict[str, Any]]


class QuantileView(Answer):
    """The quantile of the maxima: a fraction of the patches has a maximum of at most `value`."""

    fraction: float
    value: float


class ClassDistribution(Answer):
    """A unit's maxima over the patches of one class, and how well they separate it from the rest. Null and empty if
    the split has no patch of the class."""

    label: int
    class_name: str
    auc: float | None
    mean: float | None
    quantiles: list[QuantileView]


class DissectionSettings(Request):
    """How units are dissected."""

    kind: Literal["dissection"] = "dissection"
    over: Literal["outlined", "all"] = "outlined"
    """Which patches are used: those of mammograms with outlines, or the whole split, where a mammogram without
    outlines shows none of the phenomena."""
    tail: float = 0.005
    """The share of all positions of a unit's maps that lies above its threshold: one of 0.05, 0.01, 0.005 and
    0.001."""
    replicates: int = 1000
    """How often patients are drawn for intervals."""


class LayerView(Answer):
    """The results of one layer."""

    name: str
    module: str
    units: int
    height: int
    width: int
    ranking_method: str


class ExtractionView(Answer):
    """An extraction. Once it is completed it also has `results`, the network's architecture and classes, the data
    set's name, and the `notice` that every page with its patches shows."""

    state: str
    error: str
    progress: Progress
    created: str
    started: str
    finished: str
    requeues: list[Requeue] = Field(default=[])
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


class ExtractionList(Answer):
    """A page of all extractions, newest first."""

    total: int
    next_offset: int | None
    extractions: list[ExtractionView]


class GradientSettings(Request):
    """How units are ranked by gradient x activation."""

    layers: list[str] = Field(default=[])
    """The extracted layers to analyse; none names all."""
    patches: int = 0
    """Patches at most, drawn at random; 0 takes the whole split."""
    seed: int = 7
    """The same seed draws the same patches."""
    kind: Literal["gradient"] = "gradient"
    batch_size: int = 8
    """Patches in a batch; a backward pass keeps their maps in memory."""


class InfluenceSettings(Request):
    """How units are ranked by influence."""

    kind: Literal["influence"] = "influence"
    layers: list[str] = Field(default=[])
    """The extracted layers to analyse; none names all."""
    scale: float | None = None
    """The shorter side of a mammogram divided by the side of the network's input. By default, the shorter side of a
    mammogram divided by the side of its patches."""


class PhenomenonView(Answer):
    """How well a unit's map above a threshold agrees with the outlines of a phenomenon. The interval of the IoU is
    over patients."""

    phenomenon: str
    threshold: float
    iou: float | None
    iou_low: float | None
    iou_high: float | None
    precision: float | None
    recall: float | None


class SamplePatch(Answer):
    """One of the sample patches, which are the same for all units, with its rank from 1 by falling maximum of the
    unit's map."""

    rank: int
    value: float
    patch_id: int
    patch: str
    label: int
    phenomenon: str
    mammogram: str


class SimilarUnit(Answer):
    """A unit of the same layer, with the correlation of the maxima."""

    unit: int
    name: str
    correlation: float


class StartExtractionRequest(Request):
    """Extract from the network of a completed run, over the data set of the run."""

    split: str = "val"
    layers: list[str] = Field(default_factory=list)
    """Names, module paths, or auto: the last layer of each size of map. Empty takes the two deepest."""
    top_k: int = 64
    batch_size: int = 32
    """Patches of a forward pass: fewer if the maps are large; on a GPU at least 256 if memory allows."""
    run_id: str


class ThresholdView(Answer):
    """The activation that a share of all positions of all maps exceeds."""

    share: float
    activation: float


class TopPatch(Answer):
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


class UnitRank(Answer):
    """The rank of a unit for a class, from 1. `count` is null in rankings that count nothing."""

    ranking: str
    label: int
    rank: int
    score: float
    count: int | None


class UnitSummary(Answer):
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
    ranks: list[UnitRank] = Field(default=[])
    duplicate_of: int | None = None
    duplicate_of_name: str | None = None
    best: PhenomenonView | None = None


class UnitList(Answer):
    """A part of the units that a query finds in a layer. `order` are the channels of all units that it finds, in
    order. `rankings` are the rankings that exist; the method of the layer's own ranking is `ranking_method`."""

    layer: str
    classes: list[str]
    ranking_method: str
    rankings: list[str]
    dissected: bool
    units: list[UnitSummary]
    total: int
    order: list[int]


class UnitView(Answer):
    """Everything that is recorded about a unit: the distribution of its maxima over the split, similar units, near-
    duplicates (channels in `duplicates`, names in `duplicate_names`), its dissection, and its top patches and
    sample patches, largest first."""

    unit: int
    name: str
    silent: bool
    mean: float
    deviation: float
    maximum: float
    active: float
    auc_by_class: list[float | None]
    ranks: list[UnitRank] = Field(default=[])
    duplicate_of: int | None = None
    duplicate_of_name: str | None = None
    best: PhenomenonView | None = None
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
