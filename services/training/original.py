"""Reads the original's YAML files as typed settings, and its .pth.tar files as weights and momentum.

The original has two kinds of YAML file. The file of a run has every key. The file of a published checkpoint has only
`experiment_name` and `resume` below `training`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from services.common.errors import InvalidInput
from services.common.machine.reading import read_at_most
from services.common.redaction import quoted
from services.imaging.architectures import native_preprocessing
from services.imaging.checkpoint import read_file, state_dict_of
from services.training.distributed import Team
from services.training.learner import Learner, resume_tensors
from services.training.schedule import build_optimizer
from services.training.schemas import LARGEST_INT32, RunSettings

PRESETS = Path(__file__).parent / "presets"
LARGEST_YAML = 1 << 20
LONGEST_QUOTE = 100
CHECKPOINT_KEYS = {"epoch", "state_dict", "optimizer"}
BUFFERS = (".running_mean", ".running_var", ".num_batches_tracked")

Model = Literal[
    "alexnet", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn",
    "inception_v3", "resnet152",
]  # fmt: skip
"""The networks whose last layer the original replaces."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DataPart(_Part):
    """How the patches are read. The service uses only `batch_size`; its data sets are registered elsewhere."""

    root: str
    batch_size: int = Field(ge=2, le=4096)
    workers: int = Field(ge=0)


class ArchPart(_Part):
    """The network."""

    num_classes: int = Field(ge=2)
    model: Model
    pretrained: bool


class OptimizerPart(_Part):
    """SGD, and the epochs, counted from 0, at which the learning rate falls to a tenth."""

    type: Literal["sgd"]
    lr: float = Field(gt=0, le=1e6)
    lr_decay_epochs: list[Annotated[int, Field(ge=0, le=LARGEST_INT32)]] = Field(max_length=1000)
    momentum: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0, le=1e6)


class TrainedPart(_Part):
    """The training of a published checkpoint."""

    experiment_name: str
    resume: str | None


class TrainingPart(TrainedPart):
    """How a run trains. The service ignores the folders and `print_freq`."""

    logs_dir: str
    checkpoints_dir: str
    print_freq: int = Field(ge=1)
    checkpoint_epochs: int = Field(ge=1, le=10_000)
    log_dir: str | None
    epochs: int = Field(ge=1, le=10_000)


class OriginalNetwork(_Part):
    """A YAML file of the original: a network, and how it was trained."""

    data: DataPart
    arch: ArchPart
    optimizer: OptimizerPart
    training: TrainedPart

    def require_classes(self, classes: list[str], dataset_id: str) -> None:
        """InvalidInput unless a data set has as many classes as the network."""
        if self.arch.num_classes != len(classes):
            raise InvalidInput(
                f"{self.training.experiment_name} has arch.num_classes {self.arch.num_classes}; data set {dataset_id} "
                f"has {len(classes)} classes: {', '.join(classes)}"
            )

    def settings(self, epochs: int, checkpoint_epochs: int = 0) -> RunSettings:
        """Return the settings of the run, without warm-up and augmentation, and with torchvision 0.1.9's network."""
        return RunSettings(
            architecture=self.arch.model,
            semantics="torchvision-0.1.9",
            weights="imagenet" if self.arch.pretrained else "none",
            image_size=299 if self.arch.model == "inception_v3" else 227,
            epochs=epochs,
            checkpoint_epochs=checkpoint_epochs,
            keep="last",
            batch_size=self.data.batch_size,
            optimizer="sgd",
            learning_rate=self.optimizer.lr,
            momentum=self.optimizer.momentum,
            weight_decay=self.optimizer.weight_decay,
            schedule="step",
            decay_epochs=self.optimizer.lr_decay_epochs,
            warmup_steps=0,
            flips=False,
        )


class OriginalRun(OriginalNetwork):
    """The YAML file of a run."""

    training: TrainingPart

    def run_settings(self) -> RunSettings:
        """Return the settings of the full run."""
        return self.settings(self.training.epochs, self.training.checkpoint_epochs)


N = TypeVar("N", bound=OriginalNetwork)


@dataclass(frozen=True)
class OriginalCheckpoint:
    """A checkpoint after `epoch` epochs. Weights and momentum buffers, if any, go by the names of the weights."""

    epoch: int
    weights: dict[str, Tensor]
    momentum: dict[str, Tensor]


def presets() -> list[str]:
    """Return the names of the original's five runs."""
    return sorted(path.stem for path in PRESETS.glob("*.yml"))


def read_run(name: str) -> OriginalRun:
    """Read the run of a preset or a YAML file. InvalidInput names unknown, missing and mistyped keys by their paths."""
    return _validated(OriginalRun, *_load(name))


def read_network(name: str) -> OriginalNetwork:
    """Read the network of a preset or a YAML file of either kind. Errors are as for `read_run`."""
    content, source = _load(name)
    training = content.get("training")
    published = isinstance(training, dict) and training.keys() <= TrainedPart.model_fields.keys()
    return _validated(OriginalNetwork if published else OriginalRun, content, source)


def read_checkpoint(path: Path) -> OriginalCheckpoint:
    """Read a checkpoint file of the original without running pickled code. InvalidInput names the difference from the
    expected content."""
    content = read_file(path)
    keys = set(map(str, content)) if isinstance(content, dict) else set()
    if keys != CHECKPOINT_KEYS:
        raise InvalidInput(
            f"{path} has {', '.join(sorted(keys)[:10]) or 'no keys'}; a checkpoint of the original has "
            f"{', '.join(sorted(CHECKPOINT_KEYS))}"
        )
    epoch = content["epoch"]
    if not isinstance(epoch, int) or not 0 <= epoch <= LARGEST_INT32:
        raise InvalidInput(f"{path} has epoch {quoted(epoch)}; expected a number of epochs")
    weights = state_dict_of(content, path)
    return OriginalCheckpoint(epoch, weights, _momentum(content["optimizer"], weights, path))


def resume_state(
    checkpoint: OriginalCheckpoint, network: nn.Module, settings: RunSettings
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return what a run needs besides the weights to resume from a checkpoint (see `resume_tensors`). The network
    defines the order of the weights; it may be a skeleton."""
    optimizer = build_optimizer(network, settings)
    for name, parameter in network.named_parameters():
        if name in checkpoint.momentum:
            optimizer.state[parameter]["momentum_buffer"] = checkpoint.momentum[name]
    preprocessing = native_preprocessing(settings.architecture, settings.image_size, settings.channels)
    learner = Learner(network, optimizer, settings, preprocessing, torch.device("cpu"), Team(), network)
    return resume_tensors(learner)


def _momentum(optimizer: Any, weights: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the momentum buffers of SGD by the names of their weights. The optimizer numbers the weights in the order
    of the state dict, which also contains buffers of batch normalisation."""
    try:
        ids = [id_ for group in optimizer["param_groups"] for id_ in group["params"]]
        buffers = {id_: entries.get("momentum_buffer") for id_, entries in optimizer["state"].items()}
    except (TypeError, KeyError, AttributeError) as error:
        raise InvalidInput(f"{path} has an optimizer that is not a state of SGD: {quoted(error)}") from error
    names = [name for name in weights if not name.endswith(BUFFERS)]
    if len(ids) != len(names):
        raise InvalidInput(f"{path} has an optimizer of {len(ids)} weights; its state_dict has {len(names)}")
    momentum = {name: buffers[id_] for id_, name in zip(ids, names, strict=True) if buffers.get(id_) is not None}
    for name, buffer in momentum.items():
        if not isinstance(buffer, Tensor) or buffer.shape != weights[name].shape:
            raise InvalidInput(f"{path} has a momentum_buffer that does not fit {name} {list(weights[name].shape)}")
    return momentum


def _load(name: str) -> tuple[dict[str, Any], str]:
    """Load the mapping in a preset or YAML file, and return it with the name for errors."""
    path = PRESETS / f"{name}.yml" if name in presets() else Path(name)
    try:
        content = yaml.load(read_at_most(path, LARGEST_YAML).decode(), _Loader)
    except FileNotFoundError as error:
        names = ", ".join(presets())
        raise InvalidInput(f"there is no file {name}, and no preset of that name; presets are {names}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise InvalidInput(f"{name} is not a readable YAML file: {error}") from error
    if not isinstance(content, dict):
        raise InvalidInput(f"{name} contains {type(content).__name__}; expected data, arch, optimizer and training")
    return content, name


def _validated(kind: type[N], content: dict[str, Any], source: str) -> N:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {_describe(fault)}" for fault in error.errors())
        raise InvalidInput(f"{source} is not a file of the original: {faults}") from error


def _describe(fault: Any) -> str:
    messages = {"extra_forbidden": "unknown key", "missing": "missing key", "model_type": "expected keys"}
    return messages.get(fault["type"], f"{fault['msg']}, found {repr(fault['input'])[:LONGEST_QUOTE]}")


class _Loader(yaml.SafeLoader):
    """Loads plain values. It refuses keys that appear twice, and aliases: a few lines of them can expand to more than
    the memory."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            alias: Any = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(
                None, None, f"the alias *{alias.anchor} is not accepted", alias.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        repeated = sorted({str(key) for key in keys if keys.count(key) > 1})
        if repeated:
            raise yaml.constructor.ConstructorError(None, None, f"{', '.join(repeated)} twice", node.start_mark)
        return super().construct_mapping(node, deep)
