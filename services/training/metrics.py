"""Loss, accuracy and AUC of a pass over a split."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor


@dataclass
class Meter:
    """Gathers the logits of a pass, batch by batch."""

    logits: list[Tensor] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Take a (batch, classes) tensor of logits and its (batch,) labels."""
        self.logits.append(logits.detach().float().cpu())
        self.labels.append(labels.detach().cpu())

    def state_dict(self) -> dict[str, Tensor]:
        """What was gathered so far."""
        return {"logits": torch.cat(self.logits), "labels": torch.cat(self.labels)} if self.logits else {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from what was gathered."""
        self.logits, self.labels = ([state["logits"]], [state["labels"]]) if state else ([], [])

    def merge(self, state: dict[str, Tensor]) -> None:
        """Add what another meter has gathered, as its `state_dict`."""
        if state:
            self.add(state["logits"], state["labels"])

    def summary(self) -> tuple[float, float, float | None, list[float | None]]:
        """Mean cross entropy, accuracy, AUC (see `mean_auc`) and AUC by class: the same in whichever order they were
        gathered, since the sum is exact."""
        logits, labels = torch.cat(self.logits), torch.cat(self.labels)
        loss = math.fsum(torch.nn.functional.cross_entropy(logits, labels, reduction="none").tolist()) / len(labels)
        accuracy = (logits.argmax(1) == labels).float().mean().item()
        by_class = auc_by_class(logits.softmax(1).numpy(), labels.numpy())
        return loss, accuracy, mean_auc(by_class), by_class


def auc_by_class(scores: NDArray[np.float32], labels: NDArray[np.int64]) -> list[float | None]:
    """One-against-rest AUC of each class from (n, classes) scores; None for a class that has no (or only) cases."""
    found: list[float | None] = []
    for class_ in range(scores.shape[1]):
        is_class = labels == class_
        mixed = 0 < is_class.sum() < len(labels)
        found.append(float(roc_auc_score(is_class, scores[:, class_])) if mixed else None)
    return found


def mean_auc(by_class: Sequence[float | None]) -> float | None:
    """The AUC of class 1 for two classes, else the mean over classes; None if any is missing."""
    if len(by_class) == 2:
        return by_class[1]
    known = [value for value in by_class if value is not None]
    return float(np.mean(known)) if len(known) == len(by_class) else None
