"""Requests and views of the training service, the same for HTTP and gRPC."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from services.common.blobs import ObjectRef
from services.common.paging import PageView, Window
from services.common.requests import RequestModel
from services.common.work.plan_options import PlanExtraction, PlanRendering, PlanStudy
from services.common.work.views import Moment, PlanStages, TaskView
from services.imaging.semantics import Semantics

LARGEST_INT32 = 2**31 - 1

Identifier = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
LONGEST_NAME = 120


def _plain(name: str) -> str:
    """A name without spaces around it. ValueError for line breaks and characters that cannot be seen."""
    if not name.strip().isprintable():
        raise ValueError("a name is one line of visible characters")
    return name.strip()


RunName = Annotated[
    str, Field(max_length=LONGEST_NAME, description="A name for people; empty: none."), AfterValidator(_plain)
]


class RunSettings(RequestModel):
    """How a run trains. The defaults fine-tune ImageNet weights on a small data set such as the sample."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    architecture: str = Field(
        default="efficientnet_lite0", max_length=200, description="A torchvision or timm classifier."
    )
    weights: Literal["imagenet", "none"] = Field(
        default="imagenet", description="The weights that training starts from."
    )
    image_size: int = Field(default=0, ge=0, le=2048, description="Side in pixels; 0 is the network's own.")
    channels: Literal[1, 3] = Field(
        default=3,
        description="Channels of the network's input: 3 equal ones, or 1, for which ImageNet's weights are added up.",
    )
    epochs: int = Field(default=4, ge=1, le=10_000, description="The largest number of epochs; see patience.")
    batch_size: int = Field(
        default=32, ge=2, le=4096, description="Patches in a forward pass, over all processes together."
    )
    accumulate_steps: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="Forward passes in one step of the optimizer, which uses the gradients of all of them.",
    )
    clip_norm: float = Field(
        default=0.0, ge=0, le=1e6, description="The largest norm of a step's gradient; 0 does not clip."
    )
    precision: Literal["fp32", "bf16"] = Field(
        default="fp32", description="bf16 computes in bfloat16 where that is safe; the weights stay float32."
    )
    compile: bool = Field(default=False, description="Compile the network with torch.compile.")
    optimizer: Literal["sgd", "adamw"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0, le=1e6)
    momentum: float = Field(default=0.9, ge=0, lt=1, description="Momentum of SGD.")
    weight_decay: float = Field(default=0.01, ge=0, le=1e6)
    schedule: Literal["step", "cosine"] = "cosine"
    decay_epochs: list[Annotated[int, Field(ge=0, le=LARGEST_INT32)]] = Field(
        default_factory=list,
        max_length=1000,
        description="Step schedule: the learning rate falls to a tenth after these epochs.",
    )
    warmup_steps: int = Field(
        default=25, ge=0, le=LARGEST_INT32, description="Steps of the optimizer with a rising learning rate."
    )
    balance: Literal["none", "weights", "sampling"] = Field(
        default="none",
        description="Make all classes count the same: by weights in the loss, or by drawing patches of each class "
        "equally often.",
    )
    flips: bool = Field(default=True, description="Mirror training patches at random, in both directions.")
    rotation: float = Field(
        default=0.0, ge=0, le=180, description="Rotate training patches at random, by up to this many degrees."
    )
    contrast: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Scale the contrast of training patches at random, by 1 - this to 1 + this.",
    )
    brightness: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Shift the grey values of training patches at random, by up to this part of the grey scale.",
    )
    patience: int = Field(
        default=0,
        ge=0,
        le=10_000,
        description="Stop after this many epochs without a better validation AUC; 0 never stops early.",
    )
    min_delta: float = Field(
        default=0.0, ge=0, le=1, description="An AUC is better only if it is larger by more than this."
    )
    keep: Literal["best", "last"] = Field(
        default="best",
        description="The checkpoint that later stages use: best is the one with the best validation AUC.",
    )
    seed: int = Field(default=7, ge=0, le=LARGEST_INT32)
    semantics: Semantics = Field(
        default="current", description="The network and ImageNet weights of today's torchvision, or of the paper's."
    )
    checkpoint_epochs: int = Field(
        default=0, ge=0, le=10_000, description="Also retain a checkpoint after every this many epochs; 0 retains none."
    )


class DatasetView(BaseModel):
    """A registered data set."""

    model_config = ConfigDict(from_attributes=True)

    dataset_id: str
    name: str
    classes: list[str]
    splits: dict[str, int]
    mammograms: int
    manifest: ObjectRef
    created: Moment


class BalanceRow(BaseModel):
    """A class in a split."""

    split: str
    label: int
    class_name: str
    patients: int
    patches: int


class BalanceView(BaseModel):
    """How the patches and patients of a data set are spread over classes and splits."""

    dataset_id: str
    notice: str
    """A notice that every page with these patches shows; may be empty."""
    patients: dict[str, int]
    """The patients of each split. A patient may have patches of several classes."""
    classes: list[BalanceRow]


class PatchQuery(Window):
    """Which patches of a data set, and which part of their list."""

    split: str = Field(default="", max_length=8, description="Only patches of this split; empty: of all.")
    label: int | None = Field(default=None, ge=0, lt=1000, description="Only patches of this class.")


class PatchView(BaseModel):
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


class PatchList(PageView):
    """A page of patches."""

    patches: list[PatchView]


EntryName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_. -]{0,99}$")]
"""The name of an entry of the import folder: no path, and nothing hidden."""


class ImportFolders(BaseModel):
    """The folders that may be imported: those directly in PRIMITIVES_TRAINING_IMPORT_FOLDER."""

    configured: bool
    """Whether the operator has set such a folder."""
    folders: list[str]


class StartBuildRequest(RequestModel):
    """Build the sample data set, or import a folder that is directly in PRIMITIVES_TRAINING_IMPORT_FOLDER."""

    folder: EntryName | Literal[""] = Field(default="", description="The folder to import; empty: build the sample.")
    classes: Literal[2, 3] = Field(default=2, description="2 (1 = cancer) or 3 (0 normal, 1 benign, 2 cancer).")
    mammograms: EntryName | Literal[""] = Field(
        default="", description="The folder with the full mammograms as <stem>.jpg; empty: none."
    )

    @model_validator(mode="after")
    def _imports(self) -> "StartBuildRequest":
        if self.mammograms and not self.folder:
            raise ValueError("mammograms belong to a folder to import; pass folder")
        return self


class BuildView(TaskView):
    """A build of the sample data set, or the import of a folder."""

    build_id: str
    plan_id: str
    folder: str
    """The folder that is imported; empty: the sample is built."""
    dataset_id: str | None
    """The data set, once it is stored."""


class BuildList(PageView):
    """A page of all builds, newest first."""

    builds: list[BuildView]


class EpochMetrics(BaseModel):
    """The metrics of an epoch. With two classes, an AUC is that of class 1; with more, it is the mean over all classes,
    each against the rest. It is null where a split lacks a class."""

    epoch: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    train_auc: float | None
    val_loss: float | None = None
    val_accuracy: float | None = None
    val_auc: float | None = None
    val_auc_by_class: list[float | None] = []
    seconds: float


class KeptCheckpoint(BaseModel):
    """A checkpoint that a run retains because of `checkpoint_epochs`, after `epoch` epochs."""

    epoch: int
    checkpoint: ObjectRef


class RunView(TaskView):
    """A training run."""

    run_id: str
    name: str = ""
    plan_id: str
    dataset_id: str
    settings: dict[str, Any]
    epochs: list[EpochMetrics]
    checkpoint: ObjectRef | None
    """The checkpoint that later stages use: the best or the last, depending on the settings."""
    best_checkpoint: ObjectRef | None
    last_checkpoint: ObjectRef | None
    checkpoints: list[KeptCheckpoint]


class StartRunRequest(RequestModel):
    """Train on a data set, from the beginning or from the last checkpoint of another run."""

    dataset_id: str = Identifier
    settings: RunSettings = Field(default_factory=RunSettings)
    resume_from: str = Field(
        default="",
        max_length=64,
        description="Resume from the last checkpoint of this run, which has the same data set, network and optimizer.",
    )
    name: RunName = ""


class ChangeRunRequest(RequestModel):
    """Change what people call a run."""

    name: RunName


class PlanDataset(RequestModel):
    """A registered data set; if empty, the sample."""

    dataset_id: str = Field(default="", max_length=64)


class PlanNetwork(RequestModel):
    """Settings to train with, or a completed run with the checkpoint to use."""

    train: RunSettings | None = None
    run_id: str = Field(default="", max_length=64)
    checkpoint: str = Field(
        default="",
        pattern="^(best|last|[0-9]{1,6})?$",
        description="The checkpoint of the run: best, last, or the number of epochs after which it was retained. "
        "Empty: the one that the run's settings choose for later stages.",
    )
    name: RunName = ""
    """The name of the run that the plan trains."""

    @model_validator(mode="after")
    def _one_of(self) -> "PlanNetwork":
        if self.train is not None and self.run_id:
            raise ValueError("pass train or run_id, not both")
        if self.name and self.run_id:
            raise ValueError("a name is for the run that the plan trains; pass name or run_id, not both")
        if self.checkpoint and not self.run_id:
            raise ValueError("a checkpoint belongs to a run; pass run_id")
        return self


class StartPlanRequest(RequestModel):
    """Everything from data to an open study. The same plan_id starts nothing twice."""

    plan_id: str = Field(default="", pattern=r"^([a-z0-9][a-z0-9-]{0,63})?$")
    dataset: PlanDataset = Field(default_factory=PlanDataset)
    network: PlanNetwork = Field(default_factory=PlanNetwork)
    extraction: PlanExtraction = Field(default_factory=PlanExtraction)
    rendering: PlanRendering = Field(default_factory=PlanRendering)
    study: PlanStudy = Field(default_factory=PlanStudy)


class DatasetList(PageView):
    """A page of all data sets, newest first."""

    datasets: list[DatasetView]


class RunList(PageView):
    """A page of all runs, newest first."""

    runs: list[RunView]


class PlanView(PlanStages):
    """A plan in the list: the stages of this service, when it was started, and the title of its study."""

    title: str
    created: Moment


class PlanList(PageView):
    """A page of all plans, newest first."""

    plans: list[PlanView]
