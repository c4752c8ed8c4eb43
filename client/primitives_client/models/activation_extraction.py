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
    """A part of the result of an analysis for a layer: rows from `offset` of the `total` of the requested units,
    with the columns of the kind (see docs/analyses.md), and the unit's `name`."""

    analysis_id: str
    kind: str
    layer: str
    offset: int
    total: int
    rows: list[dict[str, Any]]


class BoxView(Answer):
    """A rectangle in the mammogram, in pixels: row and column of the upper left corner, height and width."""

    row: int
    column: int
    height: int
    width: int


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


class ClassScore(Answer):
    """The probability of a class on the explained tile, and the largest one on any tile, at `tile`."""

    name: str
    probability: float
    logit: float
    largest: float
    tile: int


class DetectionSettings(Request):
    """How units are scored as detectors of concepts."""

    kind: Literal["detection"] = "detection"
    layers: list[str] = Field(default=[])
    """The extracted layers to analyse; none names all."""
    split: str = ""
    """The split on which units are scored. By default test, if the extraction is of another split and test has
    patches; else the split of the extraction, where half of the patients are left for the scores."""
    covered: float = 0.01
    """A patch shows a concept if more than this share of it lies within the concept's outlines."""
    terms: int = 3
    """Concepts in the name of a unit, at most."""
    random_networks: int = 3
    """Networks with random weights whose units are the baseline."""
    seed: int = 7
    """Seed of the first network with random weights."""
    replicates: int = 1000
    """How often patients are drawn for intervals."""


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


class TileView(Answer):
    """A tile, with the probabilities of all classes."""

    box: BoxView
    probabilities: list[float]


class OutlineView(Answer):
    """A closed polygon in pixels of the mammogram: the rows and the columns of its vertices."""

    rows: list[float]
    columns: list[float]


class UnitContribution(Answer):
    """A unit in the explanation of a logit. `influence` orders the units as the original does: the largest
    activation times the weight. `contribution` is the unit's share of the logit, and `share` its part of all that
    speaks for the class, or, if negative, against it. `necessity` is by how much the logit falls when the unit
    alone is silenced. `maximum` is the largest activation on the explained tile, and `quantile` the part of the
    split's patches whose maximum is lower. `outlines` surround the places in the mammogram where the unit exceeds
    half of its largest activation in it."""

    unit: int
    name: str
    influence: float
    contribution: float
    share: float
    necessity: float
    maximum: float
    quantile: float
    largest_in_mammogram: float
    outlines: list[OutlineView]


class NamedUnits(Answer):
    """The named units together. `contribution` is the sum of their contributions, and `evidence` their part of all
    that speaks for the class, from 0 to 1. `without` and `only` are the logits with the named units silenced, and
    with all others silenced; `nothing` is the logit with the whole layer silenced."""

    units: list[int]
    contribution: float
    evidence: float
    without: float
    only: float
    nothing: float


class SimilarCaseView(Answer):
    """A patch of another patient to which the units respond similarly, with what is known about it. `outcome` is
    the last of the classes that any patch of the patient has, and `phenomena` are those of all of them."""

    similarity: float
    patch_id: int
    patch: str
    patient: str
    mammogram: str
    box: BoxView
    class_name: str
    phenomenon: str
    outcome: str
    phenomena: list[str]


class Explanation(Answer):
    """The explanation of a mammogram: what the network predicts, and which units of a layer the prediction rests
    on. All contributions, the bias and `rest` add up to `logit`. If `exact`, the last layer of the network is
    linear over the averages of the layer's maps, and the rest is rounding; otherwise contributions are gradient x
    activation. `units` are the units with the most influence, `contributions` those of all units by channel.
    `tiles` are all tiles, `tile` the number of the explained one. `notes` are doubts about the image. The mammogram
    is stored as `image` in 8 bits, and the maps of the units in `maps` (see docs/explanations.md)."""

    format: int = 1
    explanation_id: str
    extraction_id: str
    architecture: str
    classes: list[str]
    run_id: str
    checkpoint_id: str
    dataset: str
    split: str
    mammogram: str
    height: int
    width: int
    spacing: float
    side: str
    view: str
    notes: list[str]
    fraction: float
    layer: str
    class_name: str
    predicted: str
    tile: int
    tiles: list[TileView]
    scores: list[ClassScore]
    logit: float
    bias: float
    rest: float
    exact: bool
    units: list[UnitContribution]
    contributions: list[float]
    named: NamedUnits | None
    cases: list[SimilarCaseView]
    image: ObjectRef
    preview: ObjectRef
    maps: ObjectRef


class ExplanationView(Answer):
    """An explanation of a mammogram."""

    state: str
    error: str
    progress: Progress
    created: str
    started: str
    finished: str
    requeues: list[Requeue] = Field(default=[])
    explanation_id: str
    extraction_id: str
    mammogram: ObjectRef
    settings: dict[str, Any]
    manifest: ObjectRef | None


class ExplanationList(Answer):
    """A page of all explanations, newest first."""

    total: int
    next_offset: int | None
    explanations: list[ExplanationView]


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


class MammogramView(Answer):
    """An uploaded mammogram, without anything that identifies a patient. `sha256` and `size` are those of the
    stored file, which differs from the sent one."""

    sha256: str
    size: int
    kind: str


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


class StartExplanationRequest(Request):
    """Explain an uploaded mammogram with the network of a completed extraction."""

    layer: str = ""
    """A layer of the extraction. Empty: its last one, the deepest."""
    class_name: str = ""
    """The class that is explained. Empty: the class that the network predicts for the explained tile."""
    row: float | None = None
    """With `column`, a place in the mammogram in pixels: the tile whose centre is nearest is explained. Absent: the
    tile that is most suspicious."""
    column: float | None = None
    fraction: float | None = None
    """Side of a tile as a fraction of the shorter side. Absent: that of the data set's patches."""
    units: int = 20
    """The number of units with the most influence."""
    named: list[int] = Field(default=[])
    """Channels of the units that have a name. They are silenced together, to measure how much of the prediction the
    names carry."""
    cases: int = 5
    """The number of similar cases."""
    leave_out: str = ""
    """A patient of the data set who is no similar case: the patient herself."""
    extraction_id: str
    mammogram: str
    """The sha256 that the upload was answered with."""


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
