"""What the steps of the optimizer are, and when there are enough of them: learning rates, and early stopping."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from services.training.schemas import EpochMetrics, RunSettings

FUSED_ON = ("cpu", "cuda")


def build_optimizer(network: nn.Module, settings: RunSettings) -> torch.optim.Optimizer:
    """SGD as the original's, or AdamW. It steps in one pass over the weights, unless they are a skeleton's."""
    fused = all(parameter.device.type in FUSED_ON for parameter in network.parameters())
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            network.parameters(),
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            fused=fused,
        )
    return torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=fused
    )


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


def best_epoch(metrics: Sequence[EpochMetrics], min_delta: float) -> int:
    """The index of the epoch of the best validation AUC, the first of equals: one counts as better if it gains more
    than `min_delta`. While no AUC is known it is the newest; -1 before the first."""
    best, highest = len(metrics) - 1, -math.inf
    for index, epoch in enumerate(metrics):
        if epoch.val_auc is not None and epoch.val_auc > highest + min_delta:
            best, highest = index, epoch.val_auc
    return best


def is_over(settings: RunSettings, epochs_done: int, metrics: Sequence[EpochMetrics]) -> bool:
    """Whether a run has done all its epochs, or as many since its best one as its patience allows. A run that went on
    from an imported checkpoint has metrics of its later epochs alone."""
    if epochs_done >= settings.epochs:
        return True
    since = len(metrics) - 1 - best_epoch(metrics, settings.min_delta)
    return 0 < settings.patience <= since
