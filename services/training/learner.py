"""The state of a run in memory, and its conversion to tensors and plain values and back."""

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
from services.imaging.licence import Term
from services.imaging.preprocessing import Preprocessing
from services.training.distributed import Team, average_gradients, synchronise_norms
from services.training.metrics import Meter
from services.training.schedule import build_optimizer
from services.training.schemas import EpochMetrics, RunSettings


@dataclass
class Learner:
    """A network in training, after `epoch` epochs and `step` steps of the next one.

    `network` has the weights. `forward` computes the same, and may be compiled or wrapped for several processes.
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
    """Seconds that the current epoch has taken so far."""
    meter: Meter = field(default_factory=Meter)
    metrics: list[EpochMetrics] = field(default_factory=list)
    best: ObjectRef | None = None
    """The manifest of the best checkpoint so far, in the leader only."""
    terms: tuple[Term, ...] = ()
    """Terms of the licences of data that an earlier run trained these weights on."""

    def seed_step(self) -> None:
        """Seed the random numbers of the next step (dropout) from its position, so that no generator state has to be
        saved."""
        seeds = np.random.SeedSequence((self.settings.seed, self.epoch, self.step, self.team.rank))
        torch.manual_seed(int(seeds.generate_state(1, np.uint64)[0]))

    def precision(self) -> AbstractContextManager[Any]:
        """Return the context of a forward pass, which sets its precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16")

    def gradient_sync(self, enabled: bool) -> AbstractContextManager[Any]:
        """Return the context of a backward pass. Its gradients are averaged over the processes only if `enabled`; the
        earlier passes of a step accumulate their gradients in each process."""
        module = getattr(self.forward, "_orig_mod", self.forward)
        return (
            contextlib.nullcontext() if enabled or not isinstance(module, DistributedDataParallel) else module.no_sync()
        )


def start_learner(
    settings: RunSettings, classes: int, device: torch.device, team: Team | None = None, resumed: bool = False
) -> Learner:
    """Build a seeded learner at its first step. If `resumed`, it does not load ImageNet's weights, since those of a
    checkpoint follow."""
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
    forward = average_gradients(network, team, device)
    if settings.compile:
        forward = torch.compile(forward)  # type: ignore[assignment]
    preprocessing = native_preprocessing(settings.architecture, settings.image_size, settings.channels)
    return Learner(network, build_optimizer(network, settings), settings, preprocessing, device, team, forward)


def resume_tensors(learner: Learner) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return everything but the weights that `restore` needs: tensors, and plain values for JSON."""
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
    """Restore what `resume_tensors` returned: the learner continues as if it had never stopped. Only the leader
    receives the logits of the current epoch, so that none of them counts twice."""
    state: dict[int, dict[str, Any]] = {int(index): dict(entries) for index, entries in plain["values"].items()}
    for key, value in tensors.items():
        kind, _, rest = key.partition(".")
        if kind == "optimizer":
            index, _, name = rest.partition(".")
            state.setdefault(int(index), {})[name] = value
    learner.optimizer.load_state_dict({"state": state, "param_groups": plain["groups"]})
    _match_memory_format(learner.optimizer)
    if learner.team.leads:
        measured = {key.partition(".")[2]: value for key, value in tensors.items() if key.startswith("meter.")}
        learner.meter.load_state_dict(measured)
    learner.seconds = plain["seconds"]


def _match_memory_format(optimizer: torch.optim.Optimizer) -> None:
    """Copy the optimizer's tensors into the memory format of their weights. A fused step assumes the same format
    without a check, and tensors from a file are contiguous."""
    for parameter, entries in optimizer.state.items():
        for name, value in entries.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                entries[name] = torch.empty_like(parameter).copy_(value)
