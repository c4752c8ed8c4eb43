"""The optimizer, the learning rate of each step, and when a run stops."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from services.training.schemas import EpochMetrics, RunSettings

FUSED_ON = ("cpu", "cuda")


def build_optimizer(network: nn.Module, settings: RunSettings) -> torch.optim.Optimizer:
    """Build SGD as in the original, or AdamW. The fused form, one pass over all weights, is used unless the network is
    a skeleton without memory."""
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


def learning_rate(settings: RunSettings, steps_done: int, steps_per_epoch: int) -> float:
    """Compute the learning rate of the next step. After a linear warm-up, it falls to a tenth after each of
    `decay_epochs`, or along a cosine to zero."""
    if steps_done < settings.warmup_steps:
        return settings.learning_rate * (steps_done + 1) / settings.warmup_steps
    if settings.schedule == "step":
        drops = sum(steps_done >= epoch * steps_per_epoch for epoch in settings.decay_epochs)
        return float(settings.learning_rate * 0.1**drops)
    total = settings.epochs * steps_per_epoch - settings.warmup_steps
    done = (steps_done - settings.warmup_steps) / max(total, 1)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def best_epoch(metrics: Sequence[EpochMetrics], min_delta: float) -> int:
    """Return the index of the epoch with the best validation AUC. A later epoch is better only if its AUC is larger by
    more than `min_delta`. Without any AUC, the newest epoch is the best; -1 before the first epoch."""
    best, highest = len(metrics) - 1, -math.inf
    for index, epoch in enumerate(metrics):
        if epoch.val_auc is not None and epoch.val_auc > highest + min_delta:
            best, highest = index, epoch.val_auc
    return best


def is_over(settings: RunSettings, epochs_done: int, metrics: Sequence[EpochMetrics]) -> bool:
    """Return whether a run has done all its epochs, or as many epochs after its best one as its patience allows.

    `metrics` may be shorter than `epochs_done`: a run that resumed from an imported checkpoint has metrics of its own
    epochs only.
    """
    if epochs_done >= settings.epochs:
        return True
    epochs_since_best = len(metrics) - 1 - best_epoch(metrics, settings.min_delta)
    return 0 < settings.patience <= epochs_since_best
