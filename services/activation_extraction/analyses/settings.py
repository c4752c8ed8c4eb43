"""The settings of each kind of analysis. Without torch, so that callers can check requests."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, field_validator

from services.common.requests import RequestModel
from services.imaging.manifests import TAILS

SMALLEST_SCALE, LARGEST_SCALE = 1, 16
LAYERS = "The extracted layers to analyse; none names all."

LayerNames = tuple[Annotated[str, Field(max_length=200)], ...]


class PatchSettings(RequestModel):
    """Settings of an analysis of patches."""

    model_config = ConfigDict(frozen=True)

    layers: LayerNames = Field(default=(), max_length=64, description=LAYERS)
    patches: int = Field(
        default=0, ge=0, lt=2**31, description="Patches at most, drawn at random; 0 takes the whole split."
    )
    seed: int = Field(default=7, ge=0, lt=2**31, description="The same seed draws the same patches.")


class DissectionSettings(RequestModel):
    """How units are dissected."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["dissection"] = "dissection"
    over: Literal["outlined", "all"] = Field(
        default="outlined",
        description="Which patches are used: those of mammograms with outlines, or the whole split, where a mammogram "
        "without outlines shows none of the phenomena.",
    )
    tail: float = Field(
        default=0.005,
        description="The share of all positions of a unit's maps that lies above its threshold: one of "
        "0.05, 0.01, 0.005 and 0.001.",
    )
    replicates: int = Field(default=1000, ge=100, le=10_000, description="How often patients are drawn for intervals.")

    @field_validator("tail")
    @classmethod
    def _require_known(cls, tail: float) -> float:
        if tail not in TAILS:
            raise ValueError(f"{tail} is none of {', '.join(map(str, TAILS))}")
        return tail


class InfluenceSettings(RequestModel):
    """How units are ranked by influence."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["influence"] = "influence"
    layers: LayerNames = Field(default=(), max_length=64, description=LAYERS)
    scale: float | None = Field(
        default=None,
        ge=SMALLEST_SCALE,
        le=LARGEST_SCALE,
        description="The shorter side of a mammogram divided by the side of the network's input. By default, the "
        "shorter side of a mammogram divided by the side of its patches.",
    )


class GradientSettings(PatchSettings):
    """How units are ranked by gradient x activation."""

    kind: Literal["gradient"] = "gradient"
    batch_size: int = Field(
        default=8, ge=1, le=256, description="Patches in a batch; a backward pass keeps their maps in memory."
    )


class AblationSettings(PatchSettings):
    """How units are ranked by ablation."""

    kind: Literal["ablation"] = "ablation"
    patches: int = Field(
        default=1000, ge=0, lt=2**31, description="Patches at most, drawn at random; 0 takes the whole split."
    )
    units: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field(
        default=(),
        max_length=4096,
        description="The channels from 0 of the units to silence, the same ones in each layer; none names all.",
    )


class DetectionSettings(RequestModel):
    """How units are scored as detectors of concepts."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["detection"] = "detection"
    layers: LayerNames = Field(default=(), max_length=64, description=LAYERS)
    split: str = Field(
        default="",
        max_length=100,
        description="The split on which units are scored. By default test, if the extraction is of another split and "
        "test has patches; else the split of the extraction, where half of the patients are left for the scores.",
    )
    covered: float = Field(
        default=0.01,
        ge=0,
        lt=1,
        description="A patch shows a concept if more than this share of it lies within the concept's outlines.",
    )
    terms: int = Field(default=3, ge=1, le=5, description="Concepts in the name of a unit, at most.")
    random_networks: int = Field(
        default=3, ge=1, le=20, description="Networks with random weights whose units are the baseline."
    )
    seed: int = Field(default=7, ge=0, lt=2**31, description="Seed of the first network with random weights.")
    replicates: int = Field(default=1000, ge=100, le=10_000, description="How often patients are drawn for intervals.")


AnalysisSettings = Annotated[
    DissectionSettings | InfluenceSettings | GradientSettings | AblationSettings | DetectionSettings,
    Field(discriminator="kind"),
]
"""The settings of an analysis of any kind, which the field `kind` distinguishes."""
