"""Units in the order of their influence on each class."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.activation_extraction.statistics import class_aucs

TOP_UNITS = 8
"""Units a patch that count as influential, as in the original."""


def rank_by_influence(maxima: NDArray[np.float32], weights: NDArray[np.float32]) -> list[dict[str, Any]]:
    """Rows of RANKING_SCHEMA from (patches, units) maxima and the (classes, units) weights of the last linear layer.

    Influence on a patch = largest activation x weight to the class; a unit is counted on every patch where it is among
    the 8 most influential; most counted first, then the larger mean influence, then the lower unit.
    Source: DeepMiner, arXiv 1805.12323.
    """
    rows: list[dict[str, Any]] = []
    for label, weight in enumerate(weights):
        influence = maxima * weight
        leading = np.argsort(-influence, axis=1, kind="stable")[:, :TOP_UNITS]
        counts = np.bincount(leading.ravel(), minlength=maxima.shape[1])
        means = influence.mean(0, dtype=np.float64)
        order = np.lexsort((np.arange(len(counts)), -means, -counts))
        rows += _rows(label, order, means, counts)
    return rows


def rank_by_selectivity(maxima: NDArray[np.float32], labels: NDArray[np.int64], classes: int) -> list[dict[str, Any]]:
    """Rows of RANKING_SCHEMA for a layer that no linear layer follows: by the AUC of the unit as a detector."""
    rows: list[dict[str, Any]] = []
    for label, aucs in enumerate(class_aucs(maxima, labels, classes)):
        if aucs is not None:
            rows += _rows(label, np.lexsort((np.arange(len(aucs)), -aucs)), aucs, None)
    return rows


def _rows(
    label: int, order: NDArray[np.int64], scores: NDArray[np.float64], counts: NDArray[np.int64] | None
) -> list[dict[str, Any]]:
    return [
        {
            "label": label,
            "rank": rank,
            "unit": int(unit),
            "score": float(scores[unit]),
            "count": None if counts is None else int(counts[unit]),
        }
        for rank, unit in enumerate(order, 1)
    ]
