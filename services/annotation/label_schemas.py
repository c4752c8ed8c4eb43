"""Requests and answers about unit labels: what the readers of a protocol, or an adjudicator, settled on."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from services.annotation.protocol.questionnaire import FormAnswer, Questionnaire
from services.annotation.protocol.vocabulary import Vocabulary
from services.annotation.protocol_schemas import PatchView, TypedAnswers
from services.annotation.schemas import MammogramView
from services.common.paging import PageView
from services.common.requests import RequestModel
from services.common.work.views import Moment


class UnitLabelView(BaseModel):
    """The label of a unit.

    `answers` has the choice of each question, and the terms, that more than half of the unit's readers chose; or what
    an adjudicator settled on. `conflicts` are the questions without a majority.
    """

    item: int
    layer: str
    unit: int
    part: int | None = Field(default=None, description="1 or 2 if the unit was read in two parts.")
    readers: int = Field(description="Readers who have answered.")
    answers: FormAnswer
    source: Literal["majority", "adjudicator"]
    conflicts: list[str]
    label_version: int = Field(description="0 if no adjudicator has settled it.")


class UnitLabels(PageView):
    """A page of the labels of a protocol; units on which readers disagree come first."""

    labels: list[UnitLabelView]
    conflicts: int = Field(description="Units with conflicts, on all pages.")


class ReaderAnswer(BaseModel):
    """The answer of one reader to a unit."""

    reader: str
    answers: FormAnswer
    misfits: list[int]


class LabelChange(BaseModel):
    """A version of an adjudicated label."""

    label_version: int
    answers: FormAnswer
    reason: str
    adjudicator: str
    saved: Moment


class LabelCase(BaseModel):
    """Everything that an adjudicator sees of a unit: its patches with their classes, all answers, and the history."""

    study_id: str
    version: int
    title: str
    label: UnitLabelView
    questionnaire: Questionnaire
    vocabulary: Vocabulary | None
    patches: list[PatchView]
    mammograms: list[MammogramView]
    answers: list[ReaderAnswer]
    history: list[LabelChange]
    next_conflict: int | None


class SettleLabelRequest(RequestModel):
    """Settle the label of a unit. `base_version` is the label's version that the caller has read."""

    answers: TypedAnswers
    reason: str = Field(default="", max_length=4000)
    base_version: Annotated[int, Field(ge=0, lt=2**31)] = 0
