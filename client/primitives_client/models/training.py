"""Requests and answers of the training service.

Written by `python -m deploy.release.client_models`; do not edit.
"""

from typing import Any, Literal

from pydantic import Field

from primitives_client.models.base import Answer, Exchanged, Request
from primitives_client.models.common import ObjectRef, Progress, Requeue, Stage


class BalanceRow(Answer):
    """A class in a split."""

    split: str
    label: int
    class_name: str
    patients: int
    patches: int


class BalanceView(Answer):
    """How the patches and patients of a data set are spread over classes and splits."""

    dataset_id: str
    notice: str
    patients: dict[str, int]
    classes: list[BalanceRow]


class Estimate(Answer):
    """A figure with its 95% interval over `replicates` draws of patients. `reason` explains a missing value or
    interval."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    replicates: int = 0
    reason: str = ""


class Difference(Answer):
    """A paired test of AUC a minus AUC b: the 95% interval of the difference and the two-sided p value."""

    low: float | None = None
    high: float | None = None
    standard_error: float | None = None
    z: float | None = None
    p: float | None = None
    reason: str = ""


class ComparedAuc(Answer):
    """One AUC of both evaluations. `delong` treats patches as independent, which is too optimistic where a patient
    has many patches. `clustered` is the same test with patients as clusters (Obuchowski 1997). The interval of
    `difference` is over draws of patients."""

    name: str
    a: float | None = None
    b: float | None = None
    difference: Estimate
    delong: Difference = Field(default_factory=lambda: Difference.model_validate({"reason": ""}))
    clustered: Difference = Field(default_factory=lambda: Difference.model_validate({"reason": ""}))
    reason: str = ""


class BaselineReport(Answer):
    """The AUCs of a baseline on the same patches, and their comparison: side a is the checkpoint, side b the
    baseline."""

    name: str
    macro_auc: Estimate
    micro_auc: Estimate
    classes: list[ComparedAuc]
    macro: ComparedAuc
    micro: ComparedAuc


class BootstrapSettings(Exchanged):
    """How intervals are computed."""

    replicates: int = 1000
    """Number of draws of patients."""
    seed: int = 7


class BuildView(Answer):
    """A build of the sample data set, or the import of a folder."""

    state: str
    error: str
    progress: Progress
    created: str
    started: str
    finished: str
    requeues: list[Requeue] = Field(default=[])
    build_id: str
    plan_id: str
    folder: str
    dataset_id: str | None


class BuildList(Answer):
    """A page of all builds, newest first."""

    total: int
    next_offset: int | None
    builds: list[BuildView]


class Calibration(Answer):
    """The mean `predicted` probability, the `observed` share and the number of patches of each bin that has
    patches. `error` is the expected calibration error: the mean distance of the two, weighted by the numbers of
    patches."""

    error: float
    predicted: list[float]
    observed: list[float]
    counts: list[int]


class ChangeRunRequest(Request):
    """Change what people call a run."""

    name: str
    """A name for people; empty: none."""


class OperatingPoint(Answer):
    """The largest sensitivity at which the specificity is at least `specificity`. `threshold` is the smallest
    probability that then counts as positive; if it is null, no patch does."""

    specificity: float
    sensitivity: float
    threshold: float | None


class Curve(Answer):
    """Points of a curve, reduced to what a picture can show. Both ends and all visible corners remain."""

    x: list[float] = Field(default=[])
    y: list[float] = Field(default=[])


class ClassReport(Answer):
    """One class against the rest. If no patch, or every patch, has the class, `reason` says so and the figures are
    missing."""

    name: str
    patches: int
    patients: int
    reason: str = ""
    auc: Estimate
    average_precision: float | None = None
    brier: float | None = None
    sensitivities: list[OperatingPoint] = Field(default=[])
    roc: Curve = Field(default_factory=lambda: Curve.model_validate({"x": [], "y": []}))
    precision_recall: Curve = Field(default_factory=lambda: Curve.model_validate({"x": [], "y": []}))
    calibration: Calibration | None = None


class CompareRequest(Request):
    """Compare two completed evaluations of the same split. The same request returns the same comparison."""

    evaluation_a: str
    evaluation_b: str
    settings: BootstrapSettings = Field(default_factory=BootstrapSettings)


class ComparisonView(Answer):
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
    created: str


class ComparisonList(Answer):
    """A page of all comparisons, newest first."""

    total: int
    next_offset: int | None
    comparisons: list[ComparisonView]


class ConfusionRow(Answer):
    """The number of patches of one class by predicted class, which is the class with the largest probability."""

    name: str
    counts: list[int]


class CutRecipe(Request):
    """Options of an import. Covers are shares of an area."""

    fractions: list[float] = Field(default=[0.5, 0.25, 0.125])
    """Sides of patches, as parts of the shorter side of the mammogram."""
    stride: float = 0.5
    """Step between patches, as a part of their side."""
    breast_cover: float = 0.5
    """The least part of a patch that is breast."""
    patch_cover: float = 0.3
    """A finding that covers at least this part of a patch labels it."""
    lesion_cover: float = 0.3
    """A finding of which at least this part lies in a patch labels it."""
    classes: Literal["two", "three", "phenomenon"] = "three"
    """two: not cancer, cancer. three: normal, benign, cancer. phenomenon: normal, and each kind of finding."""
    kinds: Literal["any", "mass", "calcification"] = "any"
    """Findings that label patches. A patch with another kind is left out."""
    malignant_only: bool = False
    """Only malignant findings label patches. A patch with another finding is left out."""
    assessment_least: int = 0
    """Only findings of at least this BI-RADS category label patches; 0: all. With two classes, such a finding
    counts as cancer whatever its pathology."""
    weak_labels: bool = False
    """Where a source marks no findings, give each patch the label of its mammogram or breast."""
    normal_patches: int = 0
    """Normal patches of a mammogram, drawn at random; 0: all."""
    without_muscle: bool = False
    """The pectoral muscle of an MLO view does not count as breast."""
    blank_background: bool = True
    """Blank markers, labels and film edges outside of the breast."""
    largest_side: int = 0
    """Shrink larger patches to this side in pixels; 0: never."""
    splits: list[float] = Field(default=[0.8, 0.1, 0.1])
    """Parts of the patients for training, validation and test."""
    split_rule: Literal["source", "lists", "seed"] = "source"
    """source: the source's own splits where it has them. lists: those of train.txt, val.txt and test.txt in its
    root. seed: all patients are split by the seed."""
    seed: int = 123
    """Of the splits, and of the normal patches that are drawn."""
    part_mammograms: int = 16
    """Mammograms that a worker cuts at a time."""


class Licence(Answer):
    """The terms of a source. `name` and `url` identify the licence; `citation` is what its authors want."""

    name: str
    citation: str
    url: str = ""
    terms: list[str] = Field(default=[])


class SplitCard(Answer):
    """The counts of a split. `patches` is by class."""

    patients: int
    mammograms: int
    patches: dict[str, int]


class DataCard(Answer):
    """What a data set is made of. `label_units` counts mammograms by the unit and source of their label, such as
    `breast, pathology`. `recipe` are the options by which patches were cut."""

    format: int = 1
    source: str
    layout: str
    licence: Licence
    splits: dict[str, SplitCard]
    split_rule: str
    leaks: list[str]
    label_units: dict[str, int]
    recipe: dict[str, Any]
    source_sha256: str
    code_version: str


class DatasetView(Answer):
    """A registered data set."""

    dataset_id: str
    name: str
    classes: list[str]
    splits: dict[str, int]
    mammograms: int
    manifest: ObjectRef
    created: str


class DatasetList(Answer):
    """A page of all data sets, newest first."""

    total: int
    next_offset: int | None
    datasets: list[DatasetView]


class EpochMetrics(Answer):
    """The metrics of an epoch. With two classes, an AUC is that of class 1; with more, it is the mean over all
    classes, each against the rest. It is null where a split lacks a class."""

    epoch: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    train_auc: float | None
    val_loss: float | None = None
    val_accuracy: float | None = None
    val_auc: float | None = None
    val_auc_by_class: list[float | None] = Field(default=[])
    seconds: float


class EvaluationView(Answer):
    """An evaluation."""

    state: str
    error: str
    progress: Progress
    created: str
    started: str
    finished: str
    requeues: list[Requeue] = Field(default=[])
    evaluation_id: str
    run_id: str
    dataset_id: str
    checkpoint: ObjectRef
    split: str
    settings: dict[str, Any]
    manifest: ObjectRef | None


class EvaluationList(Answer):
    """A page of all evaluations, newest first."""

    total: int
    next_offset: int | None
    evaluations: list[EvaluationView]


class EvaluationSettings(Exchanged):
    """How an evaluation computes its figures."""

    replicates: int = 1000
    """Number of draws of patients."""
    seed: int = 7
    specificities: list[float] = Field(default=[0.8, 0.9, 0.95])
    """The report has the sensitivity at each of these."""
    calibration_bins: int = 10
    """Equal bins of probability from 0 to 1."""
    batch_size: int = 32
    baseline: str = ""
    """probe: also evaluate a linear probe on the features with which the run began, and compare."""


class ImportFolders(Answer):
    """The folders that may be imported: those directly in PRIMITIVES_TRAINING_IMPORT_FOLDER."""

    configured: bool
    folders: list[str]


class ImportLayout(Answer):
    """A layout that can be imported, with the licence of its source."""

    name: str
    title: str
    licence: str
    terms: list[str]


class ImportLayouts(Answer):
    """All layouts, and the buckets and DICOMweb servers that may be imported."""

    layouts: list[ImportLayout]
    buckets: list[str]
    dicomweb: list[str] = Field(default=[])


class Reason(Answer):
    """A reason, how often it applied, and where it applied first, such as `finding_annotations.csv:17`."""

    count: int = 0
    examples: list[str] = Field(default=[])


class ImportReport(Answer):
    """Counts of an import. `counts` are plain numbers such as `images` or `patches`. `dropped` is what is missing
    from the data set, `mended` what was changed to be usable, `flagged` what was kept as it is and deserves a look.
    All three are by reason."""

    counts: dict[str, int] = Field(default={})
    dropped: dict[str, Reason] = Field(default={})
    mended: dict[str, Reason] = Field(default={})
    flagged: dict[str, Reason] = Field(default={})


class ImportView(Answer):
    """An import of raw mammograms. `parts` is 0 until the source is read."""

    state: str
    error: str
    progress: Progress
    created: str
    started: str
    finished: str
    requeues: list[Requeue] = Field(default=[])
    import_id: str
    name: str
    layout: str
    folder: str
    bucket: str
    prefix: str
    dicomweb: str = ""
    since: str | None = None
    until: str | None = None
    recipe: dict[str, Any]
    parts: int
    parts_done: int
    mammograms: int
    dataset_id: str | None
    report: ImportReport | None = None


class ImportList(Answer):
    """A page of all imports, newest first."""

    total: int
    next_offset: int | None
    imports: list[ImportView]


class KeptCheckpoint(Answer):
    """A checkpoint that a run retains because of `checkpoint_epochs`, after `epoch` epochs."""

    epoch: int
    checkpoint: ObjectRef


class PatchView(Answer):
    """A patch, with its box in pixels of the mammogram. Row and height are vertical."""

    patch_id: int
    name: str
    split: str
    label: int
    class_name: str
    patient: str
    mammogram: str
    row: int
    column: int
    height: int
    width: int
    phenomenon: str


class PatchList(Answer):
    """A page of patches."""

    total: int
    next_offset: int | None
    patches: list[PatchView]


class PlanDataset(Request):
    """A registered data set; if empty, the sample."""

    dataset_id: str = ""


class PlanExtraction(Request):
    """How a plan extracts; see Plan in proto/primitives/common/v1/plan.proto. The `analyses` begin when the
    extraction is completed. The plan does not wait for them."""

    split: str = "val"
    layers: list[str] = Field(default_factory=list)
    """Names, module paths, or auto: the last layer of each size of map. Empty takes the two deepest."""
    top_k: int = 64
    batch_size: int = 32
    """Patches of a forward pass: fewer if the maps are large; on a GPU at least 256 if memory allows."""
    analyses: list[Literal["dissection", "influence", "gradient", "ablation", "detection"]] = Field(
        default_factory=list
    )


class PlanView(Answer):
    """A plan in the list: the stages of this service, when it was started, and the title of its study."""

    plan_id: str
    stages: list[Stage]
    title: str
    created: str


class PlanList(Answer):
    """A page of all plans, newest first."""

    total: int
    next_offset: int | None
    plans: list[PlanView]


class RunSettings(Request):
    """How a run trains. The defaults fine-tune ImageNet weights on a small data set such as the sample."""

    architecture: str = "efficientnet_lite0"
    """A torchvision or timm classifier."""
    weights: Literal["imagenet", "none"] = "imagenet"
    """The weights that training starts from."""
    image_size: int = 0
    """Side in pixels; 0 is the network's own."""
    channels: Literal[1, 3] = 3
    """Channels of the network's input: 3 equal ones, or 1, for which ImageNet's weights are added up."""
    epochs: int = 4
    """The largest number of epochs; see patience."""
    batch_size: int = 32
    """Patches in a forward pass, over all processes together."""
    accumulate_steps: int = 1
    """Forward passes in one step of the optimizer, which uses the gradients of all of them."""
    clip_norm: float = 0.0
    """The largest norm of a step's gradient; 0 does not clip."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 computes in bfloat16 where that is safe; the weights stay float32."""
    compile: bool = False
    """Compile the network with torch.compile."""
    optimizer: Literal["sgd", "adamw"] = "adamw"
    learning_rate: float = 0.001
    momentum: float = 0.9
    """Momentum of SGD."""
    weight_decay: float = 0.01
    schedule: Literal["step", "cosine"] = "cosine"
    decay_epochs: list[int] = Field(default_factory=list)
    """Step schedule: the learning rate falls to a tenth after these epochs."""
    warmup_steps: int = 25
    """Steps of the optimizer with a rising learning rate."""
    balance: Literal["none", "weights", "sampling"] = "none"
    """Make all classes count the same: by weights in the loss, or by drawing patches of each class equally
    often."""
    flips: bool = True
    """Mirror training patches at random, in both directions."""
    rotation: float = 0.0
    """Rotate training patches at random, by up to this many degrees."""
    contrast: float = 0.0
    """Scale the contrast of training patches at random, by 1 - this to 1 + this."""
    brightness: float = 0.0
    """Shift the grey values of training patches at random, by up to this part of the grey scale."""
    patience: int = 0
    """Stop after this many epochs without a better validation AUC; 0 never stops early."""
    min_delta: float = 0.0
    """An AUC is better only if it is larger by more than this."""
    keep: Literal["best", "last"] = "best"
    """The checkpoint that later stages use: best is the one with the best validation AUC."""
    seed: int = 7
    semantics: Literal["current", "torchvision-0.1.9"] = "current"
    """The network and ImageNet weights of today's torchvision, or of the paper's."""
    checkpoint_epochs: int = 0
    """Also retain a checkpoint after every this many epochs; 0 retains none."""


class PlanNetwork(Request):
    """Settings to train with, or a completed run with the checkpoint to use."""

    train: RunSettings | None = None
    run_id: str = ""
    checkpoint: str = ""
    """The checkpoint of the run: best, last, or the number of epochs after which it was retained. Empty: the one
    that the run's settings choose for later stages."""
    name: str = ""
    """A name for people; empty: none."""


class PlanRendering(Request):
    """How a plan renders."""

    size: int = 227
    kind: Literal["overlay", "heat_map", "contour", "crop", "mammogram"] = "overlay"
    format: Literal["jpeg", "webp"] = "jpeg"


class PlanStudy(Request):
    """The study that a plan opens."""

    title: str = ""
    units_per_class: int = 20
    labels_shown: str = ""
    """When a reader sees the class of a patch. after_list, and empty: once the reader has answered the whole list,
    the subset of every layer; all answers to it are blind. after_answer: of a unit once it is answered; units share
    patches, and after 8 to 11 answers readers knew 41 to 56% of the classes of a unit that was not answered yet.
    always."""


class Report(Answer):
    """All figures of a checkpoint on a split. `brier` is half the mean squared distance over all classes, so that
    two classes have the usual score. `calibration` is for the predicted class."""

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
    baseline: BaselineReport | None = None


class RunView(Answer):
    """A training run."""

    state: str
    error: str
    progress: Progress
    created: str
    started: str
    finished: str
    requeues: list[Requeue] = Field(default=[])
    run_id: str
    name: str = ""
    plan_id: str
    dataset_id: str
    settings: dict[str, Any]
    epochs: list[EpochMetrics]
    checkpoint: ObjectRef | None
    best_checkpoint: ObjectRef | None
    last_checkpoint: ObjectRef | None
    checkpoints: list[KeptCheckpoint]


class RunList(Answer):
    """A page of all runs, newest first."""

    total: int
    next_offset: int | None
    runs: list[RunView]


class StartBuildRequest(Request):
    """Build the sample data set, or import a folder that is directly in PRIMITIVES_TRAINING_IMPORT_FOLDER."""

    folder: str = ""
    """The folder to import; empty: build the sample."""
    classes: Literal[2, 3] = 2
    """2 (1 = cancer) or 3 (0 normal, 1 benign, 2 cancer)."""
    mammograms: str = ""
    """The folder with the full mammograms as <stem>.jpg; empty: none."""


class StartEvaluationRequest(Request):
    """Evaluate a checkpoint of a run on a split of its own data set, or of another with the same classes."""

    run_id: str
    split: str = "val"
    dataset_id: str = ""
    """Empty: the data set that the run trains on."""
    checkpoint: str = ""
    """best, last, or the number of epochs after which a checkpoint was retained. Empty: the one that later stages
    use."""
    settings: EvaluationSettings = Field(default_factory=EvaluationSettings)


class StartImportRequest(Request):
    """Import raw mammograms: a folder that is directly in PRIMITIVES_TRAINING_IMPORT_FOLDER, the objects of a
    bucket that PRIMITIVES_TRAINING_IMPORT_BUCKETS lists, or the studies of a DICOMweb server in
    PRIMITIVES_TRAINING_DICOMWEB_FILE. With a server, the folder or bucket has its table of labels, labels.csv, and
    may have a list of studies, studies.txt."""

    layout: str
    """How the source is laid out; see import-layouts."""
    name: str = ""
    """The name of the data set; empty: that of the source."""
    folder: str = ""
    """The folder to import; empty: a bucket."""
    bucket: str = ""
    """The bucket to import; empty: a folder."""
    prefix: str = ""
    """The folder of the bucket, such as cbis/2017; empty: the whole bucket."""
    dicomweb: str = ""
    """The DICOMweb server to import from, by name."""
    since: str | None = None
    """The first day of the server's studies to import."""
    until: str | None = None
    """Their last day."""
    recipe: CutRecipe = Field(default_factory=CutRecipe)


class StartPlanRequest(Request):
    """Everything from data to an open study. The same plan_id starts nothing twice."""

    plan_id: str = ""
    dataset: PlanDataset = Field(default_factory=PlanDataset)
    network: PlanNetwork = Field(default_factory=PlanNetwork)
    extraction: PlanExtraction = Field(default_factory=PlanExtraction)
    rendering: PlanRendering = Field(default_factory=PlanRendering)
    study: PlanStudy = Field(default_factory=PlanStudy)


class StartRunRequest(Request):
    """Train on a data set, from the beginning or from the last checkpoint of another run."""

    dataset_id: str
    settings: RunSettings = Field(default_factory=RunSettings)
    resume_from: str = ""
    """Resume from the last checkpoint of this run, which has the same data set, network and optimizer."""
    name: str = ""
    """A name for people; empty: none."""
