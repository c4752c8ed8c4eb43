"""Statistics of each unit's maxima over a split: how active the unit is, and how well it separates a class from the
rest."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.imaging.manifests import QUANTILES


def unit_statistics(
    maxima: NDArray[np.float32], labels: NDArray[np.int64], classes: int, first: int = 0
) -> list[dict[str, Any]]:
    """One row per unit, numbered from `first`, of (patches, units) maxima with (patches,) labels: the columns of
    STATISTICS_SCHEMA that depend on the maxima alone."""
    wide = maxima.astype(np.float64)
    by_unit = np.ascontiguousarray(maxima.T)
    of_class = [by_unit[:, labels == label] for label in range(classes)]
    columns: dict[str, Any] = {
        "mean": wide.mean(0),
        "deviation": wide.std(0),
        "minimum": maxima.min(0),
        "maximum": maxima.max(0),
        "active": (maxima > 0).mean(0),
        "quantiles": quantiles(by_unit),
    }
    by_class: dict[str, list[NDArray[np.float64] | None]] = {
        "auc_by_class": class_aucs(maxima, labels, classes),
        "mean_by_class": [part.mean(1, dtype=np.float64) if part.size else None for part in of_class],
        "quantiles_by_class": [quantiles(part) if part.size else None for part in of_class],
    }
    return [
        {"unit": first + unit}
        | {name: column[unit].tolist() for name, column in columns.items()}
        | {name: [part[unit].tolist() if part is not None else None for part in by_class[name]] for name in by_class}
        for unit in range(maxima.shape[1])
    ]


def quantiles(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """The (units, QUANTILES) quantiles of (units, patches) values, with linear interpolation as in numpy."""
    ordered = np.sort(values, axis=1).astype(np.float64)
    ranks = np.array(QUANTILES) * (values.shape[1] - 1)
    below = np.floor(ranks).astype(int)
    above = np.minimum(below + 1, values.shape[1] - 1)
    found: NDArray[np.float64] = ordered[:, below] + (ranks - below) * (ordered[:, above] - ordered[:, below])
    return found


def class_aucs(
    maxima: NDArray[np.float32], labels: NDArray[np.int64], classes: int
) -> list[NDArray[np.float64] | None]:
    """For each class the (units,) areas under the ROC curve of each unit as a detector of the class: the Mann-Whitney
    statistic, with ties counted half. None if all patches or no patches have the class."""
    ranks = midranks(np.ascontiguousarray(maxima.T))
    found: list[NDArray[np.float64] | None] = []
    for class_ in range(classes):
        inside = labels == class_
        cases, others = int(inside.sum()), int((~inside).sum())
        if cases == 0 or others == 0:
            found.append(None)
            continue
        found.append((ranks[:, inside].sum(1) - cases * (cases + 1) / 2) / (cases * others))
    return found


def midranks(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """The rank of each of (units, patches) values among the values of its unit, from 1. Equal values share the mean of
    their ranks."""
    order = values.argsort(axis=1)  # the order of equal values does not matter
    ordered = np.take_along_axis(values, order, 1)
    patches = values.shape[1]
    begins = np.ones(values.shape, dtype=bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    columns = np.arange(patches)
    first = np.maximum.accumulate(np.where(begins, columns, 0), axis=1)
    ends = np.ones(values.shape, dtype=bool)
    ends[:, :-1] = begins[:, 1:]
    last = np.minimum.accumulate(np.where(ends, columns, patches)[:, ::-1], axis=1)[:, ::-1]
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, (first + last) / 2 + 1, 1)
    return ranks
