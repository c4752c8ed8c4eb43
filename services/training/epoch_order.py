"""The order of an epoch: its patches, their weights in the loss, and how each is changed.

The order follows from seed and epoch alone. It is the same wherever a run resumes and on any number of processes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.training.augmentation import draw_changes
from services.training.schemas import RunSettings


@dataclass(frozen=True)
class EpochOrder:
    """An epoch of n patches: their ids (n,), their weights in the loss (n,), whether each is mirrored up-down and
    left-right (n, 2), and the changes for `augmentation.change` (n, 3), or None if nothing is changed."""

    ids: NDArray[np.int64]
    weights: NDArray[np.float64]
    mirrored: NDArray[np.bool_]
    changes: NDArray[np.float32] | None


def order_epoch(settings: RunSettings, ids: NDArray[np.int64], labels: NDArray[np.int64], epoch: int) -> EpochOrder:
    """Draw an epoch over the patches `ids` of a split. `labels` has the labels of all patches, by patch id."""
    generator = np.random.default_rng((settings.seed, epoch))
    weight_by_class = class_weights(labels[ids])
    if settings.balance == "sampling":
        chances = weight_by_class[labels[ids]]
        order = generator.choice(ids, len(ids), p=chances / chances.sum())
    else:
        order = generator.permutation(ids)
    mirrored = generator.random((len(order), 2)) < (0.5 if settings.flips else 0.0)
    weights = weight_by_class[labels[order]] if settings.balance == "weights" else np.ones(len(order))
    return EpochOrder(order, weights, mirrored, draw_changes(settings, generator, len(order)))


def order_by_id(ids: NDArray[np.int64]) -> EpochOrder:
    """Order every patch once by its id, with equal weights and unchanged."""
    return EpochOrder(ids, np.ones(len(ids)), np.zeros((len(ids), 2), dtype=bool), None)


def class_weights(labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute a weight for each class such that the patches of every class that occurs have the same total weight, and
    the mean weight of the patches is 1."""
    counts = np.bincount(labels)
    present = counts > 0
    return np.where(present, len(labels) / (present.sum() * np.maximum(counts, 1)), 0.0)
