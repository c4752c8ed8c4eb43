"""Training: one loop that reads from top to bottom, and what it needs to stop anywhere and go on as if it had not."""

import math
import time
from collections.abc import Callable, Sequence

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

Report = Callable[..., None]


def fit(
    learner: Learner,
    train: Batches,
    val: Batches | None,
    deadline: float,
    report: Report,
    save: Callable[[], None],
    paused: Callable[[], bool] = lambda: False,
) -> bool:
    """Train until all epochs are done or more do not help (True), or the deadline of `time.monotonic` has passed and at
    least one step is done, or `paused()`, which is asked between two steps (False).

    `save` is called after every epoch and before it leaves, when `learner` is all that is needed to go on. Several
    processes do all of this in step, as their leader decides.
    """
    settings, team = learner.settings, learner.team
    moved, images = False, 0

    def stops() -> bool:
        return paused() or (moved and time.monotonic() > deadline)

    def leave() -> bool:
        learner.seconds = time.monotonic() - started
        if moved:
            team.collect(learner.meter)
            save()
        return False

    while not is_over(settings, learner.epoch, learner.metrics):
        started = time.monotonic() - learner.seconds
        learner.network.train()
        for parts in train.shuffled(settings, learner.epoch, learner.step):
            if team.agree(stops):
                return leave()
            step(learner, parts, learning_rate(settings, learner.epoch * len(train) + learner.step, len(train)))
            learner.step, moved = learner.step + 1, True
            images += sum(len(part.labels) for part in parts) * team.size
            report(
                learner.epoch * len(train) + learner.step,
                settings.epochs * len(train),
                phase=f"epoch {learner.epoch + 1} of {settings.epochs}",
                unit="steps",
                counted=images,
            )
        measured = evaluate(learner, val, paused) if val else None
        if val and measured is None:
            return leave()
        team.collect(learner.meter)
        learner.metrics.append(summarise(learner, len(train), measured, time.monotonic() - started))
        learner.epoch, learner.step, learner.seconds, learner.meter = learner.epoch + 1, 0, 0.0, Meter()
        save()
    return True


def step(learner: Learner, parts: Sequence[Part], rate: float) -> None:
    """One step of the optimizer, on the gradients of all its parts; their logits go into the meter.

    InvalidInput when the loss is no number: going on would only spread it.
    """
    learner.seed_step()
    learner.optimizer.zero_grad(set_to_none=True)
    loss = torch.zeros((), device=learner.device)
    for part in parts:
        with learner.unsynchronised(unless=part is parts[-1]):
            logits = forward(learner, part)
            share = weighted_loss(logits, part)
            (share * learner.team.size).backward()  # gradients are averaged over the processes; shares sum up
        loss += share.detach()
        learner.meter.add(logits, part.labels)
    check_loss(learner, learner.team.total(loss), rate)  # also the point where the CPU waits for the GPU
    if learner.settings.clip_norm:
        nn.utils.clip_grad_norm_(learner.network.parameters(), learner.settings.clip_norm)
    for group in learner.optimizer.param_groups:
        group["lr"] = rate
    learner.optimizer.step()


def forward(learner: Learner, part: Part) -> Tensor:
    """The (batch, classes) logits of a part in training."""
    pixels = part.pixels.to(learner.device, non_blocking=True)
    if part.changes is not None:
        pixels = change(pixels, part.changes)
    with learner.precision():
        logits: Tensor = learner.forward(learner.preprocessing.normalise(pixels))
    return logits


def weighted_loss(logits: Tensor, part: Part) -> Tensor:
    """What a part adds to the loss of its step: the mean cross entropy of its patches, by their weights."""
    losses = functional.cross_entropy(logits.float(), part.labels.to(logits.device), reduction="none")
    return (losses * part.weights.to(logits.device)).sum()


def check_loss(learner: Learner, loss: float, rate: float) -> None:
    """InvalidInput if it is no number."""
    if not math.isfinite(loss):
        raise InvalidInput(
            f"the loss is {loss} at epoch {learner.epoch + 1}, step {learner.step + 1}, with learning rate "
            f"{rate:g}; a smaller learning rate may help"
        )


@torch.inference_mode()
def evaluate(learner: Learner, batches: Batches, paused: Callable[[], bool]) -> Meter | None:
    """The logits of a whole split, in evaluation mode, with the leader; None if `paused()` before the end."""
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


def summarise(learner: Learner, steps_an_epoch: int, val: Meter | None, seconds: float) -> EpochMetrics:
    """What an epoch came to, as the leader has gathered it; its learning rate is that of its last step."""
    last_step = learner.epoch * steps_an_epoch + learner.step - 1
    loss, accuracy, auc, _ = learner.team.tell(learner.meter.summary)
    val_loss, val_accuracy, val_auc, by_class = learner.team.tell(val.summary) if val else (None, None, None, [])
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
