"""Rankings of units by their influence on each class."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOP_UNITS = 8
"""Units per patch that count as influential, as in the original."""


def rank_by_influence(blocks: Iterable[NDArray[np.float32]], weights: NDArray[np.float32]) -> list[dict[str, Any]]:
    """The rows of RANKING_SCHEMA, from blocks of (patches, units) maxima and the (classes, units) weights of the last
    linear layer.

    The influence on a patch is the largest activation times the weight to the class. A unit is counted on every patch
    on which it is among the 8 most influential. Units are ordered by count, then by mean influence, then by number.
    Source: DeepMiner, arXiv 1805.12323.
    """
    counts = np.zeros(weights.shape, dtype=np.int64)
    totals = np.zeros(weights.shape)
    patches = 0
    for maxima in blocks:
        patches += len(maxima)
        for label, weight in enumerate(weights):
            influence = maxima * weight
            counts[label] += count_leading(influence)
            totals[label] += influence.sum(0, dtype=np.float64)
    return [row for label in range(len(weights)) for row in rank_rows(label, totals[label] / patches, counts[label])]


def count_leading(influence: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """The (units,) numbers of rows of (patches, units) influences in which a unit is among the 8 largest.

    Ties go to the lower unit.
    """
    leading = np.argsort(-influence, axis=1, kind="stable")[:, :TOP_UNITS]
    return np.bincount(leading.ravel(), minlength=influence.shape[1])


def rank_by_selectivity(aucs: Sequence[Sequence[float | None]]) -> list[dict[str, Any]]:
    """The rows of RANKING_SCHEMA for a layer that no linear layer reads: units by their AUC as detectors of a class.

    A class without AUCs is left out.
    """
    of_class = enumerate(zip(*aucs, strict=True))
    return [row for label, scores in of_class if None not in scores for row in rank_rows(label, np.array(scores))]


def rank_rows(label: int, scores: NDArray[np.float64], counts: NDArray[np.int64] | None = None) -> list[dict[str, Any]]:
    """The rows of RANKING_SCHEMA for one class: by count, then by the larger score, then by the lower unit."""
    units = np.arange(len(scores))
    order = np.lexsort((units, -scores) if counts is None else (units, -scores, -counts))
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
