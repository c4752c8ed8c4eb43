"""Requests and views of evaluations and comparisons, the same for HTTP and gRPC."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.common.blobs import ObjectRef
from services.common.paging import PageView
from services.common.requests import RequestModel
from services.common.work.views import Moment, TaskView
from services.training.schemas import LARGEST_INT32, Identifier

MOST_REPLICATES = 10_000


class BootstrapSettings(RequestModel):
    """How intervals are computed."""

    model_config = ConfigDict(frozen=True)

    replicates: int = Field(default=1000, ge=10, le=MOST_REPLICATES, description="Number of draws of patients.")
    seed: int = Field(default=7, ge=0, le=LARGEST_INT32)


class EvaluationSettings(BootstrapSettings):
    """How an evaluation computes its figures."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    specificities: list[Annotated[float, Field(gt=0, lt=1)]] = Field(
        default=[0.8, 0.9, 0.95], max_length=20, description="The report has the sensitivity at each of these."
    )
    calibration_bins: int = Field(default=10, ge=2, le=100, description="Equal bins of probability from 0 to 1.")
    batch_size: int = Field(default=32, ge=1, le=1024)
    baseline: Literal["", "probe"] = Field(
        default="",
        description="probe: also evaluate a linear probe on the features with which the run began, and compare.",
    )


class StartEvaluationRequest(RequestModel):
    """Evaluate a checkpoint of a run on a split of its own data set, or of another with the same classes."""

    run_id: str = Identifier
    split: str = Field(default="val", max_length=8)
    dataset_id: str = Field(default="", max_length=64, description="Empty: the data set that the run trains on.")
    checkpoint: str = Field(
        default="",
        pattern=r"^(|best|last|[1-9][0-9]{0,8})$",
        description="best, last, or the number of epochs after which a checkpoint was retained. Empty: the one that "
        "later stages use.",
    )
    settings: EvaluationSettings = Field(default_factory=EvaluationSettings)


class EvaluationView(TaskView):
    """An evaluation."""

    evaluation_id: str
    run_id: str
    dataset_id: str
    checkpoint: ObjectRef
    split: str
    settings: dict[str, Any]
    manifest: ObjectRef | None


class EvaluationList(PageView):
    """A page of all evaluations, newest first."""

    evaluations: list[EvaluationView]


class Estimate(BaseModel):
    """A figure with its 95% interval over `replicates` draws of patients. `reason` explains a missing value or
    interval."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    replicates: int = 0
    reason: str = ""


class Curve(BaseModel):
    """Points of a curve, reduced to what a picture can show. Both ends and all visible corners remain."""

    x: list[float] = []
    y: list[float] = []


class OperatingPoint(BaseModel):
    """The largest sensitivity at which the specificity is at least `specificity`. `threshold` is the smallest
    probability that then counts as positive; if it is null, no patch does."""

    specificity: float
    sensitivity: float
    threshold: float | None


class Calibration(BaseModel):
    """The mean `predicted` probability, the `observed` share and the number of patches of each bin that has patches.
    `error` is the expected calibration error: the mean distance of the two, weighted by the numbers of patches."""

    error: float
    predicted: list[float]
    observed: list[float]
    counts: list[int]


class ClassReport(BaseModel):
    """One class against the rest. If no patch, or every patch, has the class, `reason` says so and the figures are
    missing."""

    name: str
    patches: int
    patients: int
    reason: str = ""
    auc: Estimate
    average_precision: float | None = None
    brier: float | None = None
    sensitivities: list[OperatingPoint] = []
    roc: Curve = Curve()
    precision_recall: Curve = Curve()
    calibration: Calibration | None = None


class ConfusionRow(BaseModel):
    """The number of patches of one class by predicted class, which is the class with the largest probability."""

    name: str
    counts: list[int]


class Report(BaseModel):
    """All figures of a checkpoint on a split. `brier` is half the mean squared distance over all classes, so that two
    classes have the usual score. `calibration` is for the predicted class."""

    evaluation_id: str
    run_id: str
    checkpoint_id: str
    dataset_id: str
    split: str
    patches: int
    patients: int
    settings: EvaluationSettings
    macro_auc: Estimate
    micro_auc: Estimate
    accuracy: float
    brier: float
    calibration: Calibration
    classes: list[ClassReport]
    confusion: list[ConfusionRow]
    baseline: "BaselineReport | None" = None


class CompareRequest(RequestModel):
    """Compare two completed evaluations of the same split. The same request returns the same comparison."""

    evaluation_a: str = Identifier
    evaluation_b: str = Identifier
    settings: BootstrapSettings = Field(default_factory=BootstrapSettings)


class Difference(BaseModel):
    """A paired test of AUC a minus AUC b: the 95% interval of the difference and the two-sided p value."""

    low: float | None = None
    high: float | None = None
    standard_error: float | None = None
    z: float | None = None
    p: float | None = None
    reason: str = ""


class ComparedAuc(BaseModel):
    """One AUC of both evaluations. `delong` treats patches as independent, which is too optimistic where a patient has
    many patches. `clustered` is the same test with patients as clusters (Obuchowski 1997). The interval of `difference`
    is over draws of patients."""

    name: str
    a: float | None = None
    b: float | None = None
    difference: Estimate
    delong: Difference = Difference()
    clustered: Difference = Difference()
    reason: str = ""


class BaselineReport(BaseModel):
    """The AUCs of a baseline on the same patches, and their comparison: side a is the checkpoint, side b the
    baseline."""

    name: str
    macro_auc: Estimate
    micro_auc: Estimate
    classes: list[ComparedAuc]
    macro: ComparedAuc
    micro: ComparedAuc


class ComparisonView(BaseModel):
    """The comparison of two checkpoints on the same patches."""

    comparison_id: str
    evaluation_a: str
    evaluation_b: str
    dataset_id: str
    split: str
    patches: int
    patients: int
    settings: BootstrapSettings
    classes: list[ComparedAuc]
    macro: ComparedAuc
    micro: ComparedAuc
    created: Moment


class ComparisonList(PageView):
    """A page of all comparisons, newest first."""

    comparisons: list[ComparisonView]
