"""Training: one loop that reads from top to bottom, and what it needs to stop anywhere and go on as if it had not."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from services.common.errors import InvalidInput
from services.imaging.preprocessing import Preprocessing
from services.training.batches import Batches
from services.training.metrics import Meter
from services.training.schemas import EpochMetrics, RunSettings

Report = Callable[..., None]


@dataclass
class Learner:
    """A network in training: `epoch` epochs are done, and `step` steps of the next."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    settings: RunSettings
    preprocessing: Preprocessing
    device: torch.device
    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    meter: Meter = field(default_factory=Meter)
    metrics: list[EpochMetrics] = field(default_factory=list)


def fit(
    learner: Learner,
    train: Batches,
    val: Batches | None,
    deadline: float,
    report: Report,
    save: Callable[[], None],
    paused: Callable[[], bool] = lambda: False,
) -> bool:
    """Train until all epochs are done (True), or the deadline of `time.monotonic` has passed and at least one step is
    done, or `paused()`, which is asked between two batches (False).

    `save` is called after every epoch and before it leaves, when `learner` is all that is needed to go on.
    """
    settings, network = learner.settings, learner.network
    moved = False

    def leave() -> bool:
        learner.seconds = time.monotonic() - started
        if moved:
            save()
        return False

    while learner.epoch < settings.epochs:
        started = time.monotonic() - learner.seconds
        network.train()
        for batch in train.shuffled(settings.seed, learner.epoch, settings.flips, learner.step):
            if paused() or (moved and time.monotonic() > deadline):
                return leave()
            rate = learning_rate(settings, learner.epoch * len(train) + learner.step, len(train))
            logits = step(learner, batch.pixels, batch.labels, rate)
            learner.meter.add(logits, batch.labels)
            learner.step, moved = learner.step + 1, True
            report(
                phase=f"epoch {learner.epoch + 1} of {settings.epochs}",
                done=learner.epoch * len(train) + learner.step,
                total=settings.epochs * len(train),
                unit="steps",
            )
        measured = evaluate(learner, val, paused) if val else None
        if val and measured is None:
            return leave()
        learner.metrics.append(summarise(learner, len(train), measured, time.monotonic() - started))
        learner.epoch, learner.step, learner.seconds, learner.meter = learner.epoch + 1, 0, 0.0, Meter()
        save()
    return True


def step(learner: Learner, pixels: Tensor, labels: Tensor, rate: float) -> Tensor:
    """One step of the optimizer on (batch, size, size) pixels; returns the (batch, classes) logits before it.

    InvalidInput when the loss is no number: going on would only spread it.
    """
    for group in learner.optimizer.param_groups:
        group["lr"] = rate
    images = learner.preprocessing.normalise(pixels.to(learner.device, non_blocking=True))
    logits: Tensor = learner.network(images)
    loss = nn.functional.cross_entropy(logits, labels.to(learner.device))
    if not math.isfinite(loss.item()):  # also the point where the CPU waits for the GPU
        raise InvalidInput(
            f"the loss is {loss.item()} at epoch {learner.epoch + 1}, step {learner.step + 1}, with learning rate "
            f"{rate:g}; a smaller learning rate may help"
        )
    learner.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    learner.optimizer.step()
    return logits


@torch.inference_mode()
def evaluate(learner: Learner, batches: Batches, paused: Callable[[], bool]) -> Meter | None:
    """The logits of a whole split, in evaluation mode; None if `paused()` before the end."""
    learner.network.eval()
    meter = Meter()
    for batch in batches.in_order():
        if paused():
            return None
        images = learner.preprocessing.normalise(batch.pixels.to(learner.device, non_blocking=True))
        meter.add(learner.network(images), batch.labels)
    return meter


def learning_rate(settings: RunSettings, steps_done: int, steps_an_epoch: int) -> float:
    """The rate of the next step: linear warm-up, then x0.1 after each of `decay_epochs`, or a cosine to zero."""
    if steps_done < settings.warmup_steps:
        return settings.learning_rate * (steps_done + 1) / settings.warmup_steps
    if settings.schedule == "step":
        drops = sum(steps_done >= epoch * steps_an_epoch for epoch in settings.decay_epochs)
        return float(settings.learning_rate * 0.1**drops)
    total = settings.epochs * steps_an_epoch - settings.warmup_steps
    done = (steps_done - settings.warmup_steps) / max(total, 1)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def build_optimizer(network: nn.Module, settings: RunSettings) -> torch.optim.Optimizer:
    """SGD as the original's, or AdamW."""
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            network.parameters(),
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
    return torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)


def summarise(learner: Learner, steps_an_epoch: int, val: Meter | None, seconds: float) -> EpochMetrics:
    """What an epoch came to; its learning rate is that of its last step."""
    last_step = learner.epoch * steps_an_epoch + learner.step - 1
    loss, accuracy, auc, _ = learner.meter.summary()
    val_loss, val_accuracy, val_auc, by_class = val.summary() if val else (None, None, None, [])
    return EpochMetrics(
        epoch=learner.epoch + 1,
        learning_rate=learning_rate(learner.settings, last_step, steps_an_epoch),
        train_loss=loss,
        train_accuracy=accuracy,
        train_auc=auc,
        val_loss=val_loss,
        val_accuracy=val_accuracy,
        val_auc=val_auc,
        val_auc_by_class=by_class,
        seconds=round(seconds, 3),
    )


def resume_tensors(learner: Learner) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All of a learner but its weights: tensors, and the plain values beside them."""
    state = learner.optimizer.state_dict()
    tensors: dict[str, Tensor] = {"rng.cpu": torch.get_rng_state()}
    values: dict[str, dict[str, float]] = {}
    for index, entries in state["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
            elif value is not None:
                values.setdefault(str(index), {})[name] = value
    tensors |= {f"meter.{name}": value for name, value in learner.meter.state_dict().items()}
    if learner.device.type == "cuda":
        tensors["rng.cuda"] = torch.cuda.get_rng_state(learner.device)
    plain = {"groups": state["param_groups"], "values": values, "seconds": learner.seconds}
    return tensors, plain


def restore(learner: Learner, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
    """Undo `resume_tensors`: the learner goes on as if it had never stopped."""
    state: dict[int, dict[str, Any]] = {int(index): dict(entries) for index, entries in plain["values"].items()}
    for key, value in tensors.items():
        kind, _, rest = key.partition(".")
        if kind == "optimizer":
            index, _, name = rest.partition(".")
            state.setdefault(int(index), {})[name] = value
    learner.optimizer.load_state_dict({"state": state, "param_groups": plain["groups"]})
    gathered = {key.partition(".")[2]: value for key, value in tensors.items() if key.startswith("meter.")}
    learner.meter.load_state_dict(gathered)
    learner.seconds = plain["seconds"]
    torch.set_rng_state(tensors["rng.cpu"])
    if "rng.cuda" in tensors and learner.device.type == "cuda":
        torch.cuda.set_rng_state(tensors["rng.cuda"], learner.device)
