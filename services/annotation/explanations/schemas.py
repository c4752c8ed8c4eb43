"""Requests and answers about explanations in the words of readers."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from services.annotation.detection.schemas import ConceptScore, Verdict
from services.common.requests import RequestModel

Fraction = Annotated[float, Field(ge=0, le=1)]
Source = Literal["responses", "majority", "adjudicator"]


class UnitNameView(BaseModel):
    """The name that readers gave a unit.

    `agreeing` of the `readers` who answered gave it. `source` says where it comes from: the `responses` to a study, or
    the label that the `majority` of the readers of a closed protocol or an `adjudicator` settled on. `associated` is
    whether the phenomenon is associated with cancer: yes, no, unsure, or empty. `verdict` is what held-out patients say
    of the name, and `scores` are those of the known concepts in it; without any the name is unverified.
    """

    unit: int
    name: str
    text: str
    readers: int
    agreeing: int
    associated: str
    source: Source
    verdict: Verdict = "unverified"
    scores: list[ConceptScore] = []

    @property
    def explains(self) -> bool:
        """Whether the name may explain a prediction: a refuted name counts as no name."""
        return self.verdict != "refuted"


class UnitNames(BaseModel):
    """The names of the units of a layer, by unit."""

    extraction_id: str
    layer: str
    names: list[UnitNameView]


class ExplainRequest(RequestModel):
    """Explain an uploaded mammogram. All units of the layer that have a name are silenced together. The other fields
    are those of the same names in StartExplanationRequest of the extraction service."""

    extraction_id: str = Field(max_length=64)
    mammogram: str = Field(pattern="^[0-9a-f]{64}$", description="The sha256 that the upload was answered with.")
    layer: str = Field(default="", max_length=200)
    class_name: str = Field(default="", max_length=200)
    row: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    column: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    fraction: float | None = Field(default=None, ge=0.01, le=1)
    units: int = Field(default=20, ge=1, le=100)
    cases: int = Field(default=5, ge=0, le=50)
    leave_out: str = Field(default="", max_length=200)


class StartedExplanation(BaseModel):
    """An explanation that was started, and the number of units with a name."""

    explanation_id: str
    extraction_id: str
    layer: str
    named: int


class Coverage(BaseModel):
    """What carries the evidence for the class: the units with a name, those without one, and the rest, which is the
    bias of the class and what contributions do not explain. The three add up to 1. Below `floor` the names do not
    explain the prediction."""

    named: Fraction
    unnamed: Fraction
    rest: Fraction
    floor: Fraction
    sufficient: bool


class NamedContribution(BaseModel):
    """A unit among those with the most influence. `label` is its name, if it has one, and `machine` the score of the
    name that a search over known concepts gave it."""

    unit: int
    name: str
    label: UnitNameView | None
    machine: ConceptScore | None = None
    influence: float
    contribution: float
    share: float
    necessity: float
    quantile: float


class ExplanationInWords(BaseModel):
    """An explanation in the words of readers.

    `sentences` say it as text. `primitives` are the named units with the most influence, at most three, as in the
    original; they are empty if the names carry too little. `units` are all units with the most influence. `silenced`
    and `alone` are the logit without the named units, and with them alone; null if no unit has a name.
    """

    explanation_id: str
    extraction_id: str
    layer: str
    class_name: str
    predicted: str
    probability: float
    logit: float
    silenced: float | None
    alone: float | None
    exact: bool
    coverage: Coverage
    primitives: list[NamedContribution]
    units: list[NamedContribution]
    sentences: list[str]
    notes: list[str]
    research_use_only: Literal[True] = True
