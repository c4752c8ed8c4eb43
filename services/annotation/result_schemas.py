"""The results of a protocol: agreement, controls, times and the summary by layer."""

from typing import Literal

from pydantic import BaseModel, Field

from services.annotation.agreement.controls import RepeatAgreement
from services.annotation.agreement.proportions import Proportion
from services.annotation.agreement.questions import QuestionAgreement, TermsAgreement
from services.annotation.agreement.shift import ChangeTest


class ReaderResult(BaseModel):
    """What times and hidden controls show about one reader. Times are medians, in seconds, without idle time."""

    pseudonym: str
    readings: int
    answered: int
    active_s: float | None
    first_action_s: float | None
    false_recognition: Proportion = Field(description="Shams in which the reader recognized something.")
    repeats: dict[str, RepeatAgreement] = Field(description="By question: agreement with the own first answer.")


class ShiftView(BaseModel):
    """How answers to a question changed after the reveal: rows are first answers, columns second ones."""

    choices: list[str]
    table: list[list[int]]
    changed: Proportion
    tests: tuple[ChangeTest, ...]
    reason: str


class QuestionResult(BaseModel):
    """Agreement on a question, and the shift of its answers after the reveal if the protocol has a reveal."""

    question: str
    text: str
    kind: Literal["choice", "scale", "terms"]
    titles: dict[str, str] = Field(description="Of the choices, or of the terms, by identifier.")
    agreement: QuestionAgreement | TermsAgreement
    shift: ShiftView | None


class TermCount(BaseModel):
    """In how many units of a layer most readers chose a term."""

    term: str
    title: str
    units: int


class LayerSummary(BaseModel):
    """What the units of a layer show, by their labels: what more than half of their readers say, or what an adjudicator
    has settled on."""

    layer: str
    units: int = Field(description="Units with at least one answer.")
    recognizable: int
    associated: int
    unsettled: int = Field(
        description="Units on which readers disagree whether they are recognizable, and which nobody has settled."
    )
    phenomena: list[TermCount]


class ResultsView(BaseModel):
    """The results of a version of a protocol. Readers are pseudonyms."""

    study_id: str
    version: int
    sha256: str
    title: str
    architecture: str
    state: Literal["open", "closed"]
    readings: int
    answered: int
    readers: list[ReaderResult]
    questions: list[QuestionResult]
    layers: list[LayerSummary]
