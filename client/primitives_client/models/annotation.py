"""Requests and answers of the annotation service.

Written by `python -m deploy.release.client_models`; do not edit.
"""

from typing import Literal

from pydantic import Field

from primitives_client.models.base import Answer, Exchanged, Request
from primitives_client.models.common import Progress


class Members(Exchanged):
    """The readers of a study: all readers, or those with these names. Without either, no reader sees the study."""

    everyone: bool = False
    names: list[str] = Field(default_factory=list)


class ChangeStudyRequest(Request):
    """Change a study. What is absent stays as it is. Labels that a study shows cannot be withheld again."""

    members: Members | None = None
    labels_shown: str | None = None


class ListProgress(Answer):
    """The number of units in a list that can be answered (all but silent ones), and how many this reader
    answered."""

    units: int
    answered: int


class LayerView(Answer):
    """A layer of a study with its three lists."""

    name: str
    units: int
    silent: int
    ranking_method: str
    subset: ListProgress
    ranked: ListProgress
    all: ListProgress


class MammogramView(Answer):
    """A full mammogram, without its name."""

    number: int
    side: str
    view: str
    height: int
    width: int


class OpenStudyRequest(Request):
    """Open a study of a rendering whose completion this service has received. Without `members` it is for all
    readers."""

    title: str = ""
    units_per_class: int = 20
    labels_shown: str = ""
    """When a reader sees the class of a patch. after_list, and empty: once the reader has answered the whole list,
    the subset of every layer; all answers to it are blind. after_answer: of a unit once it is answered; units share
    patches, and after 8 to 11 answers readers knew 41 to 56% of the classes of a unit that was not answered yet.
    always."""
    rendering_id: str
    members: Members | None = None


class PictureView(Answer):
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


class PutResponseRequest(Request):
    """An answer to a unit; `base_version` is the version that the caller has read, 0 for a first answer.
    associated, multiplicity and description may be empty if recognizable is "no"."""

    recognizable: Literal["yes", "no", "unsure"]
    associated: Literal["", "yes", "no", "unsure", "not_applicable"] = ""
    multiplicity: Literal["", "single", "multiple", "not_applicable"] = ""
    description: str = ""
    base_version: int = 0
    idempotency_key: str = ""


class UnitPlace(Answer):
    """The study, layer and channel of a unit."""

    study_id: str
    layer: str
    unit: int


class ReaderSummary(Answer):
    """A reader and the units that this reader answered, without the answers themselves. `answered` has the units on
    this page, `total` is the number of all."""

    name: str
    answered: list[UnitPlace]
    total: int


class ResponseView(Answer):
    """A reader's own answer to a unit. `after_reveal`: whether the reader could see the classes of the unit's
    patches before this version was saved."""

    study_id: str
    layer: str
    unit: int
    recognizable: str
    associated: str
    multiplicity: str
    description: str
    version: int
    saved: str
    after_reveal: bool = False


class ResponseList(Answer):
    """A part of a reader's own answers; `total` is the number of all."""

    responses: list[ResponseView]
    total: int


class StudyView(Answer):
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
    labels_cost: str = ""
    """What showing labels before the whole list is answered costs."""
    ranks_shown: bool = True
    """Whether the reader sees ranks of units without an answer."""
    state: str
    error: str
    progress: Progress
    layers: list[LayerView]
    created: str
    started: str
    finished: str


class StudyList(Answer):
    """A page of all studies, newest first."""

    total: int
    next_offset: int | None
    studies: list[StudyView]


class Summary(Answer):
    """A page of the units that readers answered, by reader, study, layer and unit. A reader without an answer is
    also listed, and counts as one unit."""

    total: int
    next_offset: int | None
    readers: list[ReaderSummary]


class UnitSummary(Answer):
    """A unit in a list, with its first pictures. Only the ranked list has label, rank, score and count, and only if
    the study does not withhold them from the reader."""

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


class UnitList(Answer):
    """A part of a list; `total` is the length of the whole list."""

    units: list[UnitSummary]
    total: int


class UnitRank(Answer):
    """The rank of a unit for a class."""

    label: int
    class_name: str
    rank: int
    score: float
    count: int | None


class UnitView(Answer):
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
    mammograms: list[MammogramView]
    ranks: list[UnitRank]
    response: ResponseView | None = None
