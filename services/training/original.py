"""The original's runs and checkpoints: its YAML files as typed settings, its .pth.tar files as weights and momentum.

Two kinds of YAML file are its own: that of a run has every key; that beside a published checkpoint has of `training`
only `experiment_name` and `resume`.
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
    """Where the patches are and how they are read. The service knows its data set: only `batch_size` counts here."""

    root: str
    batch_size: int = Field(ge=2, le=4096)
    workers: int = Field(ge=0)


class ArchPart(_Part):
    """The network."""

    num_classes: int = Field(ge=2)
    model: Model
    pretrained: bool


class OptimizerPart(_Part):
    """SGD, and the epochs, counted from 0, at which its learning rate drops to a tenth."""

    type: Literal["sgd"]
    lr: float = Field(gt=0, le=1e6)
    lr_decay_epochs: list[Annotated[int, Field(ge=0, le=LARGEST_INT32)]] = Field(max_length=1000)
    momentum: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0, le=1e6)


class TrainedPart(_Part):
    """What the file beside a published checkpoint says of its training."""

    experiment_name: str
    resume: str | None


class TrainingPart(TrainedPart):
    """How a run trains. Of the folders and `print_freq` the service has no use."""

    logs_dir: str
    checkpoints_dir: str
    print_freq: int = Field(ge=1)
    checkpoint_epochs: int = Field(ge=1, le=10_000)
    log_dir: str | None
    epochs: int = Field(ge=1, le=10_000)


class OriginalNetwork(_Part):
    """A YAML file of the original: what network it is of, and how that was trained."""

    data: DataPart
    arch: ArchPart
    optimizer: OptimizerPart
    training: TrainedPart

    def require_classes(self, classes: list[str], dataset_id: str) -> None:
        """InvalidInput unless a data set's classes are as many as the network's."""
        if self.arch.num_classes != len(classes):
            raise InvalidInput(
                f"{self.training.experiment_name} has arch.num_classes {self.arch.num_classes}; data set {dataset_id} "
                f"has {len(classes)} classes: {', '.join(classes)}"
            )

    def settings(self, epochs: int, checkpoint_epochs: int = 0) -> RunSettings:
        """The run that the file describes: no warm-up, no augmentation, and torchvision 0.1.9's network."""
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
        """The whole run."""
        return self.settings(self.training.epochs, self.training.checkpoint_epochs)


N = TypeVar("N", bound=OriginalNetwork)


@dataclass(frozen=True)
class OriginalCheckpoint:
    """`epoch` epochs are done; weights, and momentum buffers where there are any, by the names of weights."""

    epoch: int
    weights: dict[str, Tensor]
    momentum: dict[str, Tensor]


def presets() -> list[str]:
    """The names of the original's five runs."""
    return sorted(path.stem for path in PRESETS.glob("*.yml"))


def read_run(name: str) -> OriginalRun:
    """The run of a preset or a YAML file. InvalidInput names unknown, missing and mistyped keys by their paths."""
    return _validated(OriginalRun, *_load(name))


def read_network(name: str) -> OriginalNetwork:
    """What a preset or YAML file, of a run or of a published checkpoint, says of its network; errors as `read_run`."""
    content, source = _load(name)
    training = content.get("training")
    published = isinstance(training, dict) and training.keys() <= TrainedPart.model_fields.keys()
    return _validated(OriginalNetwork if published else OriginalRun, content, source)


def read_checkpoint(path: Path) -> OriginalCheckpoint:
    """A checkpoint file of the original, read without unpickling code. InvalidInput names what is not as expected."""
    content = read_file(path)
    found = set(map(str, content)) if isinstance(content, dict) else set()
    if found != CHECKPOINT_KEYS:
        raise InvalidInput(
            f"{path} holds {', '.join(sorted(found)[:10]) or 'no keys'}; a checkpoint of the original holds "
            f"{', '.join(sorted(CHECKPOINT_KEYS))}"
        )
    epoch = content["epoch"]
    if not isinstance(epoch, int) or not 0 <= epoch <= LARGEST_INT32:
        raise InvalidInput(f"{path} has epoch {epoch!r}; expected a number of epochs")
    weights = state_dict_of(content, path)
    return OriginalCheckpoint(epoch, weights, _momentum(content["optimizer"], weights, path))


def resume_state(
    checkpoint: OriginalCheckpoint, network: nn.Module, settings: RunSettings
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What a run needs beside its weights to go on from a checkpoint (see `resume_tensors`). The network, which may be
    a skeleton, gives the order of the weights."""
    optimizer = build_optimizer(network, settings)
    for name, parameter in network.named_parameters():
        if name in checkpoint.momentum:
            optimizer.state[parameter]["momentum_buffer"] = checkpoint.momentum[name]
    preprocessing = native_preprocessing(settings.architecture, settings.image_size, settings.channels)
    learner = Learner(network, optimizer, settings, preprocessing, torch.device("cpu"), Team(), network)
    return resume_tensors(learner)


def _momentum(optimizer: Any, weights: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The momentum buffers of SGD by the names of their weights: a state dict lists them as the optimizer numbers
    them, and buffers of batch normalisation between them."""
    try:
        ids = [id_ for group in optimizer["param_groups"] for id_ in group["params"]]
        buffers = {id_: entries.get("momentum_buffer") for id_, entries in optimizer["state"].items()}
    except (TypeError, KeyError, AttributeError) as error:
        raise InvalidInput(f"{path} has an optimizer that is no state of SGD: {error!r}") from error
    names = [name for name in weights if not name.endswith(BUFFERS)]
    if len(ids) != len(names):
        raise InvalidInput(f"{path} has an optimizer of {len(ids)} weights; its state_dict has {len(names)}")
    momentum = {name: buffers[id_] for id_, name in zip(ids, names, strict=True) if buffers.get(id_) is not None}
    for name, buffer in momentum.items():
        if not isinstance(buffer, Tensor) or buffer.shape != weights[name].shape:
            raise InvalidInput(f"{path} has a momentum_buffer that does not fit {name} {list(weights[name].shape)}")
    return momentum


def _load(name: str) -> tuple[dict[str, Any], str]:
    """The mapping in a preset or YAML file, and where it is from."""
    path = PRESETS / f"{name}.yml" if name in presets() else Path(name)
    try:
        content = yaml.load(read_at_most(path, LARGEST_YAML).decode(), _Loader)
    except FileNotFoundError as error:
        known = ", ".join(presets())
        raise InvalidInput(f"there is no file {name}, nor a preset of that name; presets are {known}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise InvalidInput(f"{name} is no readable YAML file: {error}") from error
    if not isinstance(content, dict):
        raise InvalidInput(f"{name} holds {type(content).__name__}; expected data, arch, optimizer and training")
    return content, name


def _validated(kind: type[N], content: dict[str, Any], source: str) -> N:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {_told(fault)}" for fault in error.errors())
        raise InvalidInput(f"{source} is no file of the original: {faults}") from error


def _told(fault: Any) -> str:
    known = {"extra_forbidden": "unknown key", "missing": "missing key", "model_type": "keys are expected"}
    return known.get(fault["type"], f"{fault['msg']}, found {repr(fault['input'])[:LONGEST_QUOTE]}")


class _Loader(yaml.SafeLoader):
    """Plain values only, no key twice, and no alias: a few lines of aliases stand for more than memory holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            alias: Any = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, f"the alias *{alias.anchor} is not taken", alias.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"{', '.join(twice)} twice", node.start_mark)
        return super().construct_mapping(node, deep)
