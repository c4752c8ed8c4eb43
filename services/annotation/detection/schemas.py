"""Scores of units as detectors of concepts, and the verdict on a name."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel

Verdict = Literal["verified", "unverified", "refuted"]


class ConceptScore(BaseModel):
    """How well a unit detects a concept on patients whose patches did not choose its name; see docs/detection.md.

    Each score has a 95% interval over patients, which is null with too few of them. `random` and `sham` are the 95%
    quantiles of the correlation over units of networks with random weights and over sham units. `q` is the false
    discovery rate. `patients` and `patches` show the concept.
    """

    concept: str
    verdict: Verdict
    correlation: float
    correlation_low: float | None
    correlation_high: float | None
    f1: float
    f1_low: float | None
    f1_high: float | None
    iou: float
    iou_low: float | None
    iou_high: float | None
    auprc: float
    auprc_low: float | None
    auprc_high: float | None
    p: float
    q: float
    floor: float
    random: float
    sham: float
    patients: int
    patches: int


class DetectionRow(ConceptScore):
    """A row of a detection, as the extraction service returns it."""

    unit: int
    machine: bool


class DetectionTable(BaseModel):
    """A part of the rows of a detection, and the number of all rows."""

    total: int
    rows: list[DetectionRow]


class UnitScores(BaseModel):
    """The scores of a unit: of its machine name, if a search gave it one, and of every known concept."""

    machine: ConceptScore | None = None
    concepts: list[ConceptScore] = []


def verdict_on(scores: Sequence[ConceptScore]) -> Verdict:
    """The verdict on a name from those on its concepts. A name is refuted if one of them is, and verified if all are.
    A name without known concepts is unverified."""
    found = {score.verdict for score in scores}
    if "refuted" in found:
        return "refuted"
    return "verified" if found == {"verified"} else "unverified"
