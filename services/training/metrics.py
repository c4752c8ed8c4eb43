"""Loss, accuracy and AUC of a pass over a split."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass
class Meter:
    """Collects the logits and labels of a pass, batch by batch."""

    logits: list[Tensor] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Add logits (batch, classes) and their labels (batch,)."""
        self.logits.append(logits.detach().float().cpu())
        self.labels.append(labels.detach().cpu())

    def state_dict(self) -> dict[str, Tensor]:
        """Return all logits (n, classes) and labels (n,) so far; empty if there are none."""
        return {"logits": torch.cat(self.logits), "labels": torch.cat(self.labels)} if self.logits else {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Replace the content by a `state_dict`."""
        self.logits, self.labels = ([state["logits"]], [state["labels"]]) if state else ([], [])

    def merge(self, state: dict[str, Tensor]) -> None:
        """Add the content of another meter, as its `state_dict`."""
        if state:
            self.add(state["logits"], state["labels"])

    def summary(self) -> tuple[float, float, float | None, list[float | None]]:
        """Compute mean cross entropy, accuracy, AUC (see `mean_auc`) and AUC by class. The order of the patches does
        not matter, since the losses are added exactly."""
        logits, labels = torch.cat(self.logits), torch.cat(self.labels)
        loss = math.fsum(torch.nn.functional.cross_entropy(logits, labels, reduction="none").tolist()) / len(labels)
        accuracy = (logits.argmax(1) == labels).float().mean().item()
        by_class = auc_by_class(logits.softmax(1).numpy(), labels.numpy())
        return loss, accuracy, mean_auc(by_class), by_class


def auc_by_class(scores: NDArray[np.float32], labels: NDArray[np.int64]) -> list[float | None]:
    """Compute the AUC of each class against the rest from scores (n, classes). None for a class that no patch has, or
    that all patches have."""
    if not np.isfinite(scores).all():
        raise ValueError("the scores contain NaN or infinity")
    return [_auc(labels == class_, scores[:, class_]) for class_ in range(scores.shape[1])]


def _auc(is_class: NDArray[np.bool_], scores: NDArray[np.float32]) -> float | None:
    """The AUC from the sum of the ranks of the class (n,); equal scores share the mean of their ranks. This file does
    not import sklearn, which every process of a run would wait for."""
    positive = int(is_class.sum())
    negative = len(is_class) - positive
    if not positive or not negative:
        return None
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    above = ranks[place][is_class].sum() - positive * (positive + 1) / 2
    return float(above / (positive * negative))


def mean_auc(by_class: Sequence[float | None]) -> float | None:
    """Return the AUC of class 1 for two classes, else the mean over all classes; None if any of them is missing."""
    if len(by_class) == 2:
        return by_class[1]
    known = [value for value in by_class if value is not None]
    return float(np.mean(known)) if len(known) == len(by_class) else None
