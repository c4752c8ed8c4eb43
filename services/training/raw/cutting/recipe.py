"""How patches are cut and labelled, and how patients are split. The defaults are those of the paper."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from services.common.requests import RequestModel

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


class CutRecipe(RequestModel):
    """Options of an import. Covers are shares of an area."""

    model_config = ConfigDict(frozen=True)

    fractions: tuple[Fraction, ...] = Field(
        default=(0.5, 0.25, 0.125),
        min_length=1,
        max_length=8,
        description="Sides of patches, as parts of the shorter side of the mammogram.",
    )
    stride: Fraction = Field(default=0.5, description="Step between patches, as a part of their side.")
    breast_cover: Share = Field(default=0.5, description="The least part of a patch that is breast.")
    patch_cover: Share = Field(
        default=0.3, description="A finding that covers at least this part of a patch labels it."
    )
    lesion_cover: Share = Field(
        default=0.3, description="A finding of which at least this part lies in a patch labels it."
    )
    classes: Literal["two", "three", "phenomenon"] = Field(
        default="three",
        description="two: not cancer, cancer. three: normal, benign, cancer. phenomenon: normal, and each kind of "
        "finding.",
    )
    kinds: Literal["any", "mass", "calcification"] = Field(
        default="any", description="Findings that label patches. A patch with another kind is left out."
    )
    malignant_only: bool = Field(
        default=False, description="Only malignant findings label patches. A patch with another finding is left out."
    )
    assessment_least: int = Field(
        default=0,
        ge=0,
        le=6,
        description="Only findings of at least this BI-RADS category label patches; 0: all. With two classes, such a "
        "finding counts as cancer whatever its pathology.",
    )
    weak_labels: bool = Field(
        default=False,
        description="Where a source marks no findings, give each patch the label of its mammogram or breast.",
    )
    normal_patches: int = Field(
        default=0, ge=0, le=100_000, description="Normal patches of a mammogram, drawn at random; 0: all."
    )
    without_muscle: bool = Field(
        default=False, description="The pectoral muscle of an MLO view does not count as breast."
    )
    blank_background: bool = Field(
        default=True, description="Blank markers, labels and film edges outside of the breast."
    )
    largest_side: int = Field(
        default=0, ge=0, le=8192, description="Shrink larger patches to this side in pixels; 0: never."
    )
    splits: tuple[Share, ...] = Field(
        default=(0.8, 0.1, 0.1),
        min_length=3,
        max_length=3,
        description="Parts of the patients for training, validation and test.",
    )
    split_rule: Literal["source", "lists", "seed"] = Field(
        default="source",
        description="source: the source's own splits where it has them. lists: those of train.txt, val.txt and "
        "test.txt in its root. seed: all patients are split by the seed.",
    )
    seed: int = Field(
        default=123, ge=0, le=2**31 - 1, description="Of the splits, and of the normal patches that are drawn."
    )
    part_mammograms: int = Field(default=16, ge=1, le=1024, description="Mammograms that a worker cuts at a time.")

    @model_validator(mode="after")
    def _require_patients(self) -> "CutRecipe":
        if sum(self.splits) <= 0:
            raise ValueError("the splits are all 0; expected parts of the patients, such as 0.8 0.1 0.1")
        return self
