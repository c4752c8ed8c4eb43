"""The training loop. It reads from top to bottom, can stop at any step, and resumes as if it had not stopped."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from services.common.errors import InvalidInput
from services.training.augmentation import change
from services.training.batches import Batches, Part
from services.training.learner import Learner
from services.training.metrics import Meter
from services.training.schedule import is_over, learning_rate
from services.training.schemas import EpochMetrics


class Report(Protocol):
    """Receives the progress of a run; see `Job.report`. `counted` is the number of images of this slice so far."""

    def __call__(self, *, done: float, total: float, phase: str, unit: str, counted: float) -> None: ...


@dataclass(frozen=True)
class Callbacks:
    """The functions that `fit` calls.

    `save` saves the learner: after every epoch, and before `fit` stops. `paused` returns whether the run must stop now;
    it is called between two steps.
    """

    report: Report
    save: Callable[[], None]
    paused: Callable[[], bool] = lambda: False


def fit(learner: Learner, train: Batches, val: Batches | None, deadline: float, callbacks: Callbacks) -> bool:
    """Train until the run is over (True), or until it must stop (False): when it is paused, or when the deadline of
    `time.monotonic` has passed and at least one step is done.

    When `save` is called, `learner` is all that is needed to resume. Several processes work in step and follow the
    decisions of their leader.
    """
    settings, team = learner.settings, learner.team
    moved, images = False, 0

    def must_stop() -> bool:
        return callbacks.paused() or (moved and time.monotonic() > deadline)

    def stop() -> bool:
        learner.seconds = time.monotonic() - started
        if moved:
            team.collect(learner.meter)
            callbacks.save()
        return False

    while not is_over(settings, learner.epoch, learner.metrics):
        started = time.monotonic() - learner.seconds
        learner.network.train()
        for parts in train.shuffled(settings, learner.epoch, learner.step):
            if team.agree(must_stop):
                return stop()
            step(learner, parts, learning_rate(settings, learner.epoch * len(train) + learner.step, len(train)))
            learner.step, moved = learner.step + 1, True
            images += sum(len(part.labels) for part in parts) * team.size
            callbacks.report(
                done=learner.epoch * len(train) + learner.step,
                total=settings.epochs * len(train),
                phase=f"epoch {learner.epoch + 1} of {settings.epochs}",
                unit="steps",
                counted=images,
            )
        val_meter = evaluate(learner, val, callbacks.paused) if val else None
        if val and val_meter is None:
            return stop()
        team.collect(learner.meter)
        learner.metrics.append(summarise(learner, len(train), val_meter, time.monotonic() - started))
        learner.epoch, learner.step, learner.seconds, learner.meter = learner.epoch + 1, 0, 0.0, Meter()
        callbacks.save()
    return True


def step(learner: Learner, parts: Sequence[Part], rate: float) -> None:
    """Take one step of the optimizer with the gradients of all parts, and add their logits to the meter.

    InvalidInput if the loss is not finite: further steps would only spread it.
    """
    learner.seed_step()
    learner.optimizer.zero_grad(set_to_none=True)
    loss = torch.zeros((), device=learner.device)
    for part in parts:
        with learner.gradient_sync(enabled=part is parts[-1]):
            logits = forward(learner, part)
            part_loss = weighted_loss(logits, part)
            (part_loss * learner.team.size).backward()  # processes average gradients, but the parts' losses add up
        loss += part_loss.detach()
        learner.meter.add(logits, part.labels)
    check_loss(learner, learner.team.total(loss), rate)  # here the CPU waits for the GPU
    if learner.settings.clip_norm:
        nn.utils.clip_grad_norm_(learner.network.parameters(), learner.settings.clip_norm)
    for group in learner.optimizer.param_groups:
        group["lr"] = rate
    learner.optimizer.step()


def forward(learner: Learner, part: Part) -> Tensor:
    """Compute the logits (batch, classes) of a part in training."""
    pixels = part.pixels.to(learner.device, non_blocking=True)
    if part.changes is not None:
        pixels = change(pixels, part.changes)
    with learner.precision():
        logits: Tensor = learner.forward(learner.preprocessing.normalise(pixels))
    return logits


def weighted_loss(logits: Tensor, part: Part) -> Tensor:
    """Compute what a part adds to the loss of its step: the cross entropies of its patches, times their weights."""
    losses = functional.cross_entropy(logits.float(), part.labels.to(logits.device), reduction="none")
    return (losses * part.weights.to(logits.device)).sum()


def check_loss(learner: Learner, loss: float, rate: float) -> None:
    """InvalidInput if the loss of a step is not finite."""
    if not math.isfinite(loss):
        raise InvalidInput(
            f"the loss is {loss} at epoch {learner.epoch + 1}, step {learner.step + 1}, with learning rate "
            f"{rate:g}; a smaller learning rate may help"
        )


@torch.inference_mode()
def evaluate(learner: Learner, batches: Batches, paused: Callable[[], bool]) -> Meter | None:
    """Collect the logits of all patches of a split in the leader's meter, in evaluation mode. None if `paused()` is
    true before the end."""
    learner.team.share_buffers(learner.network)
    learner.network.eval()
    meter = Meter()
    for batch in batches.in_order():
        if learner.team.agree(paused):
            return None
        images = learner.preprocessing.normalise(batch.pixels.to(learner.device, non_blocking=True))
        with learner.precision():
            logits = learner.network(images)
        meter.add(logits, batch.labels)
    learner.team.collect(meter)
    return meter


def summarise(learner: Learner, steps_per_epoch: int, val: Meter | None, seconds: float) -> EpochMetrics:
    """Compute the metrics of an epoch from the leader's meters. The learning rate is the one of the last step."""
    last_step = learner.epoch * steps_per_epoch + learner.step - 1
    loss, accuracy, auc, _ = learner.team.broadcast(learner.meter.summary)
    val_loss, val_accuracy, val_auc, by_class = learner.team.broadcast(val.summary) if val else (None, None, None, [])
    return EpochMetrics(
        epoch=learner.epoch + 1,
        learning_rate=learning_rate(learner.settings, last_step, steps_per_epoch),
        train_loss=loss,
        train_accuracy=accuracy,
        train_auc=auc,
        val_loss=val_loss,
        val_accuracy=val_accuracy,
        val_auc=val_auc,
        val_auc_by_class=by_class,
        seconds=round(seconds, 3),
    )
