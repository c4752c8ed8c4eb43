"""The options of a plan, which the services that do its stages share; see proto/primitives/common/v1/plan.proto."""

from typing import Annotated, Literal

from pydantic import Field

from services.common.requests import RequestModel


class ExtractionOptions(RequestModel):
    """How to extract."""

    split: str = Field(default="val", max_length=8)
    layers: list[Annotated[str, Field(max_length=200)]] = Field(
        default_factory=list,
        max_length=64,
        description="Names, module paths, or auto: the last layer of each size of map. Empty takes the two deepest.",
    )
    top_k: int = Field(default=64, ge=1, le=1024)
    batch_size: int = Field(
        default=32,
        ge=1,
        le=1024,
        description="Patches of a forward pass: fewer if the maps are large; on a GPU at least 256 if memory allows.",
    )


AnalysisKind = Literal["dissection", "influence", "gradient", "ablation", "detection"]
"""The kinds of analysis of a completed extraction; see docs/analyses.md."""


class PlanExtraction(ExtractionOptions):
    """How a plan extracts; see Plan in proto/primitives/common/v1/plan.proto.

    The `analyses` begin when the extraction is completed. The plan does not wait for them.
    """

    analyses: list[AnalysisKind] = Field(default_factory=list, max_length=16)


PictureKind = Literal["overlay", "heat_map", "contour", "crop", "mammogram"]
PictureFormat = Literal["jpeg", "webp"]


class PlanRendering(RequestModel):
    """How a plan renders."""

    size: int = Field(default=227, ge=32, le=1024)
    kind: PictureKind = "overlay"
    format: PictureFormat = "jpeg"


LabelsShown = Annotated[str, Field(pattern="^(after_answer|always)$")] | Literal["after_list"]
"""When a reader sees the class of a patch. The contract of the last release has the pattern, so it stays as it was."""


class PlanStudy(RequestModel):
    """The study that a plan opens."""

    title: str = Field(default="", max_length=200)
    units_per_class: int = Field(default=20, ge=1, le=1000)
    labels_shown: LabelsShown | Literal[""] = Field(
        default="",
        description="When a reader sees the class of a patch. after_list, and empty: once the reader has answered the "
        "whole list, the subset of every layer; all answers to it are blind. after_answer: of a unit once it is "
        "answered; units share patches, and after 8 to 11 answers readers knew 41 to 56% of the classes of a unit that "
        "was not answered yet. always.",
    )
