"""What a run is in memory, and how all of it becomes tensors and plain values and comes back."""

import contextlib
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from services.common.blobs import ObjectRef
from services.imaging.architectures import build_network, native_preprocessing, transforms_input
from services.imaging.preprocessing import Preprocessing
from services.training.distributed import Team, synchronise_norms, together
from services.training.metrics import Meter
from services.training.schedule import build_optimizer
from services.training.schemas import EpochMetrics, RunSettings


@dataclass
class Learner:
    """A network in training: `epoch` epochs are done, and `step` steps of the next.

    `forward` computes what `network` does, however it was wrapped for it; the weights are those of `network`.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    settings: RunSettings
    preprocessing: Preprocessing
    device: torch.device
    team: Team
    forward: nn.Module
    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    meter: Meter = field(default_factory=Meter)
    metrics: list[EpochMetrics] = field(default_factory=list)
    best: ObjectRef | None = None
    """The manifest of the best checkpoint so far; the leader knows it."""

    def seed_step(self) -> None:
        """Draw what the next step draws (dropout) from a seed of its own: nothing of it has to be saved."""
        seeds = np.random.SeedSequence((self.settings.seed, self.epoch, self.step, self.team.rank))
        torch.manual_seed(int(seeds.generate_state(1, np.uint64)[0]))

    def precision(self) -> AbstractContextManager[Any]:
        """The context of a forward pass."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16")

    def unsynchronised(self, unless: bool) -> AbstractContextManager[Any]:
        """The context of a pass whose gradients stay with this process for now, `unless` it is the last of a step."""
        module = getattr(self.forward, "_orig_mod", self.forward)
        return (
            contextlib.nullcontext() if unless or not isinstance(module, DistributedDataParallel) else module.no_sync()
        )


def start_learner(
    settings: RunSettings, classes: int, device: torch.device, team: Team | None = None, resumed: bool = False
) -> Learner:
    """A learner at its first step, seeded. One that is `resumed` gets its weights from a checkpoint, not ImageNet's."""
    team = team or Team()
    torch.manual_seed(settings.seed)
    network = build_network(
        settings.architecture,
        classes,
        "none" if resumed else settings.weights,
        settings.semantics,
        transforms_input(settings.architecture, settings.weights),
        settings.channels,
    )
    network = synchronise_norms(network, team, device)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    forward = together(network, team, device)
    if settings.compile:
        forward = torch.compile(forward)  # type: ignore[assignment]
    preprocessing = native_preprocessing(settings.architecture, settings.image_size, settings.channels)
    return Learner(network, build_optimizer(network, settings), settings, preprocessing, device, team, forward)


def resume_tensors(learner: Learner) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All of a learner but its weights: tensors, and the plain values beside them."""
    state = learner.optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    values: dict[str, dict[str, float]] = {}
    for index, entries in state["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
            elif value is not None:
                values.setdefault(str(index), {})[name] = value
    tensors |= {f"meter.{name}": value for name, value in learner.meter.state_dict().items()}
    plain = {"groups": state["param_groups"], "values": values, "seconds": learner.seconds}
    return tensors, plain


def restore(learner: Learner, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
    """Undo `resume_tensors`: the learner goes on as if it had never stopped. What the epoch has measured so far is the
    leader's alone, so that nothing of it counts twice."""
    state: dict[int, dict[str, Any]] = {int(index): dict(entries) for index, entries in plain["values"].items()}
    for key, value in tensors.items():
        kind, _, rest = key.partition(".")
        if kind == "optimizer":
            index, _, name = rest.partition(".")
            state.setdefault(int(index), {})[name] = value
    learner.optimizer.load_state_dict({"state": state, "param_groups": plain["groups"]})
    _lay_out(learner.optimizer)
    if learner.team.leads:
        gathered = {key.partition(".")[2]: value for key, value in tensors.items() if key.startswith("meter.")}
        learner.meter.load_state_dict(gathered)
    learner.seconds = plain["seconds"]


def _lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Put what the optimizer keeps of a weight into memory as the weight lies there: a fused step takes that for
    granted, without a check, and a file holds rows."""
    for parameter, entries in optimizer.state.items():
        for name, value in entries.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                entries[name] = torch.empty_like(parameter).copy_(value)
