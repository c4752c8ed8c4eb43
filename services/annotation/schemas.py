"""Requests and answers of the annotation service, for HTTP and gRPC."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.common.paging import PageView, Window
from services.common.progress import Progress
from services.common.requests import RequestModel
from services.common.work.plan_options import LabelsShown, PlanStudy
from services.common.work.views import Moment

ListName = Literal["subset", "ranked", "all"]
MOST_UNITS = 200


class Place(BaseModel):
    """A list of a layer, with order and filter. `label` is the class of the ranked list, by default the last class."""

    model_config = ConfigDict(frozen=True)

    list: ListName = "all"
    label: int | None = Field(default=None, ge=0, lt=1000)
    sort: Literal["unit", "class"] = "unit"
    filter: Literal["all", "unanswered", "answered"] = "all"


class Members(RequestModel):
    """The readers of a study: all readers, or those with these names. Without either, no reader sees the study."""

    everyone: bool = False
    names: list[Annotated[str, Field(max_length=200)]] = Field(default_factory=list, max_length=1000)

    @model_validator(mode="after")
    def _all_or_some(self) -> Self:
        if self.everyone and self.names:
            raise ValueError("a study is for everyone or for the named readers, not for both")
        return self


class OpenStudyRequest(PlanStudy):
    """Open a study of a rendering whose completion this service has received. Without `members` it is for all
    readers."""

    rendering_id: str = Field(pattern="^[!-~]{1,64}$")
    members: Members | None = None


class ChangeStudyRequest(RequestModel):
    """Change a study. What is absent stays as it is. Labels that a study shows cannot be withheld again."""

    members: Members | None = None
    labels_shown: LabelsShown | None = None
    title: str | None = Field(default=None, min_length=1, max_length=200)


class ListProgress(BaseModel):
    """The number of units in a list that can be answered (all but silent ones), and how many this reader answered."""

    units: int
    answered: int


class LayerView(BaseModel):
    """A layer of a study with its three lists."""

    name: str
    units: int
    silent: int
    ranking_method: str
    subset: ListProgress
    ranked: ListProgress
    all: ListProgress


class StudyView(BaseModel):
    """A study."""

    study_id: str
    plan_id: str
    rendering_id: str
    title: str
    architecture: str
    dataset: str
    notice: str
    classes: list[str]
    units_per_class: int
    labels_shown: str
    labels_cost: str = Field(default="", description="What showing labels before the whole list is answered costs.")
    ranks_shown: bool = Field(default=True, description="Whether the reader sees ranks of units without an answer.")
    read_by_protocol: bool = Field(
        default=False, description="Whether the study has a protocol. Its lists of units are then closed to readers."
    )
    state: str
    error: str
    progress: Progress
    layers: list[LayerView]
    created: Moment
    started: Moment
    finished: Moment


class StudyList(PageView):
    """A page of all studies, newest first."""

    studies: list[StudyView]


class PictureView(BaseModel):
    """A picture of a unit. `label` and the fields after it are absent until the reader may see them."""

    rank: int
    value: float
    row: int
    column: int
    height: int
    width: int
    mammogram: int | None = None
    label: int | None = None
    class_name: str | None = None
    patch: str | None = None
    mammogram_name: str | None = None
    phenomenon: str | None = None


class UnitSummary(BaseModel):
    """A unit in a list, with its first pictures. Only the ranked list has label, rank, score and count, and only if the
    study does not withhold them from the reader."""

    unit: int
    name: str
    silent: bool
    answered: bool
    revealed: bool
    label: int | None = None
    rank: int | None = None
    score: float | None = None
    count: int | None = None
    pictures: list[PictureView]


class UnitList(BaseModel):
    """A part of a list; `total` is the length of the whole list."""

    units: list[UnitSummary]
    total: int


class UnitRank(BaseModel):
    """The rank of a unit for a class."""

    label: int
    class_name: str
    rank: int
    score: float
    count: int | None


class MammogramView(BaseModel):
    """A full mammogram, without its name."""

    number: int
    side: str
    view: str
    height: int
    width: int
    has_source: bool = Field(default=False, description="Whether the full mammogram can be read, not only a preview.")
    may_be_deep: bool = Field(default=False, description="Whether the full mammogram may have 16 bits.")


class ResponseView(BaseModel):
    """A reader's own answer to a unit. `after_reveal`: whether the reader could see the classes of the unit's patches
    before this version was saved."""

    model_config = ConfigDict(from_attributes=True)

    study_id: str
    layer: str
    unit: int
    recognizable: str
    associated: str
    multiplicity: str
    description: str
    version: int
    saved: Moment
    after_reveal: bool = False


class UnitView(BaseModel):
    """A unit with all its pictures, and the reader's answer to it."""

    study_id: str
    layer: str
    unit: int
    name: str
    silent: bool
    best: float
    answered: bool
    revealed: bool
    pictures: list[PictureView]
    has_sources: bool = Field(
        default=False, description="Whether the patches of the pictures can be read as the data set stores them."
    )
    mammograms: list[MammogramView]
    ranks: list[UnitRank]
    response: ResponseView | None = None


class PutResponseRequest(RequestModel):
    """An answer to a unit; `base_version` is the version that the caller has read, 0 for a first answer.

    associated, multiplicity and description may be empty if recognizable is "no".
    """

    recognizable: Literal["yes", "no", "unsure"]
    associated: Literal["", "yes", "no", "unsure", "not_applicable"] = ""
    multiplicity: Literal["", "single", "multiple", "not_applicable"] = ""
    description: str = Field(default="", max_length=20_000)
    base_version: int = Field(default=0, ge=0)
    idempotency_key: str = Field(default="", pattern="^[!-~]{0,64}$")


class ResponseList(BaseModel):
    """A part of a reader's own answers; `total` is the number of all."""

    responses: list[ResponseView]
    total: int


class UnitPlace(BaseModel):
    """The study, layer and channel of a unit."""

    study_id: str
    layer: str
    unit: int


class SummaryQuery(Window):
    """The page of a summary to read, and the study that it covers; empty for all studies."""

    study_id: str = ""
    limit: int = Field(
        default=1000, ge=1, le=10_000, description="The largest number of units, of all readers together."
    )


class ReaderSummary(BaseModel):
    """A reader and the units that this reader answered, without the answers themselves. `answered` has the units on
    this page, `total` is the number of all."""

    name: str
    answered: list[UnitPlace]
    total: int


class Summary(PageView):
    """A page of the units that readers answered, by reader, study, layer and unit. A reader without an answer is also
    listed, and counts as one unit."""

    readers: list[ReaderSummary]
