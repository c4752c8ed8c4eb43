"""Requests and views of explanations, the same over HTTP and gRPC."""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from services.common.blobs import ObjectRef
from services.common.paging import PageView
from services.common.requests import RequestModel
from services.common.work.views import TaskView

Channel = Annotated[int, Field(ge=0, lt=2**31)]
MOST_NAMED = 4096


class ExplanationSettings(RequestModel):
    """How a mammogram is explained. An empty or absent field takes its default."""

    layer: str = Field(
        default="", max_length=200, description="A layer of the extraction. Empty: its last one, the deepest."
    )
    class_name: str = Field(
        default="",
        max_length=200,
        description="The class that is explained. Empty: the class that the network predicts for the explained tile.",
    )
    row: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="With `column`, a place in the mammogram in pixels: the "
        "tile whose centre is nearest is explained. Absent: the tile that is most suspicious.",
    )
    column: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    fraction: float | None = Field(
        default=None,
        ge=0.01,
        le=1,
        description="Side of a tile as a fraction of the shorter side. Absent: that of the data set's patches.",
    )
    units: int = Field(default=20, ge=1, le=100, description="The number of units with the most influence.")
    named: list[Channel] = Field(
        default=[],
        max_length=MOST_NAMED,
        description="Channels of the units that have a name. They are silenced together, to measure how much of the "
        "prediction the names carry.",
    )
    cases: int = Field(default=5, ge=0, le=50, description="The number of similar cases.")
    leave_out: str = Field(
        default="", max_length=200, description="A patient of the data set who is no similar case: the patient herself."
    )


class StartExplanationRequest(ExplanationSettings):
    """Explain an uploaded mammogram with the network of a completed extraction."""

    extraction_id: str = Field(max_length=64)
    mammogram: str = Field(pattern="^[0-9a-f]{64}$", description="The sha256 that the upload was answered with.")


class MammogramView(BaseModel):
    """An uploaded mammogram, without anything that identifies a patient. `sha256` and `size` are those of the stored
    file, which differs from the sent one."""

    sha256: str
    size: int
    kind: str


class ExplanationView(TaskView):
    """An explanation of a mammogram."""

    explanation_id: str
    extraction_id: str
    mammogram: ObjectRef
    settings: dict[str, Any]
    manifest: ObjectRef | None


class ExplanationList(PageView):
    """A page of all explanations, newest first."""

    explanations: list[ExplanationView]


class BoxView(BaseModel):
    """A rectangle in the mammogram, in pixels: row and column of the upper left corner, height and width."""

    row: int
    column: int
    height: int
    width: int


class ClassScore(BaseModel):
    """The probability of a class on the explained tile, and the largest one on any tile, at `tile`."""

    name: str
    probability: float
    logit: float
    largest: float
    tile: int


class TileView(BaseModel):
    """A tile, with the probabilities of all classes."""

    box: BoxView
    probabilities: list[float]


class OutlineView(BaseModel):
    """A closed polygon in pixels of the mammogram: the rows and the columns of its vertices."""

    rows: list[float]
    columns: list[float]


class UnitContribution(BaseModel):
    """A unit in the explanation of a logit.

    `influence` orders the units as the original does: the largest activation times the weight. `contribution` is the
    unit's share of the logit, and `share` its part of all that speaks for the class, or, if negative, against it.
    `necessity` is by how much the logit falls when the unit alone is silenced. `maximum` is the largest activation on
    the explained tile, and `quantile` the part of the split's patches whose maximum is lower. `outlines` surround the
    places in the mammogram where the unit exceeds half of its largest activation in it.
    """

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


class NamedUnits(BaseModel):
    """The named units together. `contribution` is the sum of their contributions, and `evidence` their part of all that
    speaks for the class, from 0 to 1. `without` and `only` are the logits with the named units silenced, and with all
    others silenced; `nothing` is the logit with the whole layer silenced."""

    units: list[int]
    contribution: float
    evidence: float
    without: float
    only: float
    nothing: float


class SimilarCaseView(BaseModel):
    """A patch of another patient to which the units respond similarly, with what is known about it. `outcome` is the
    last of the classes that any patch of the patient has, and `phenomena` are those of all of them."""

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


class Explanation(BaseModel):
    """The explanation of a mammogram: what the network predicts, and which units of a layer the prediction rests on.

    All contributions, the bias and `rest` add up to `logit`. If `exact`, the last layer of the network is linear over
    the averages of the layer's maps, and the rest is rounding; otherwise contributions are gradient x activation.
    `units` are the units with the most influence, `contributions` those of all units by channel. `tiles` are all tiles,
    `tile` the number of the explained one. `notes` are doubts about the image. The mammogram is stored as `image` in 8
    bits, and the maps of the units in `maps` (see docs/explanations.md).
    """

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
