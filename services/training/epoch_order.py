"""Which patches an epoch sees, in which order, how much each counts and how it is changed: the same for the same seed
and epoch, wherever the run goes on and on however many processes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.training.augmentation import draw_changes
from services.training.schemas import RunSettings


@dataclass(frozen=True)
class EpochOrder:
    """An epoch of n patches: ids (n,), weights (n,) in the loss, whether mirrored up-down and left-right (n, 2), and
    the changes (n, 3) of `augmentation.change`, None if there are none."""

    ids: NDArray[np.int64]
    weights: NDArray[np.float64]
    mirrored: NDArray[np.bool_]
    changes: NDArray[np.float32] | None


def order_epoch(settings: RunSettings, ids: NDArray[np.int64], labels: NDArray[np.int64], epoch: int) -> EpochOrder:
    """The epoch over the patches of a split; `labels` holds those of all patches, by patch id."""
    generator = np.random.default_rng((settings.seed, epoch))
    counts = class_weights(labels[ids])
    if settings.balance == "sampling":
        chances = counts[labels[ids]]
        order = generator.choice(ids, len(ids), p=chances / chances.sum())
    else:
        order = generator.permutation(ids)
    mirrored = generator.random((len(order), 2)) < (0.5 if settings.flips else 0.0)
    weights = counts[labels[order]] if settings.balance == "weights" else np.ones(len(order))
    return EpochOrder(order, weights, mirrored, draw_changes(settings, generator, len(order)))


def order_by_id(ids: NDArray[np.int64]) -> EpochOrder:
    """Every patch once, as it is."""
    return EpochOrder(ids, np.ones(len(ids)), np.zeros((len(ids), 2), dtype=bool), None)


def class_weights(labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """The weight of each class, by class: what makes all classes that occur count alike, and the mean weight of the
    patches 1."""
    counts = np.bincount(labels)
    present = counts > 0
    return np.where(present, len(labels) / (present.sum() * np.maximum(counts, 1)), 0.0)
