"""What the maxima of a split say of each unit: how active it is, and how well it tells a class from the rest."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from services.imaging.manifests import QUANTILES


def unit_statistics(
    maxima: NDArray[np.float32], labels: NDArray[np.int64], classes: int, first: int = 0
) -> list[dict[str, Any]]:
    """One row a unit, from `first` on, of a (patches, units) matrix and the (patches,) labels of its rows: the columns
    of STATISTICS_SCHEMA that the maxima alone decide."""
    wide = maxima.astype(np.float64)
    of_class = [wide[labels == label] for label in range(classes)]
    columns: dict[str, Any] = {
        "mean": wide.mean(0),
        "deviation": wide.std(0),
        "minimum": maxima.min(0),
        "maximum": maxima.max(0),
        "active": (maxima > 0).mean(0),
        "quantiles": np.quantile(wide, QUANTILES, axis=0).T,
    }
    by_class: dict[str, list[NDArray[np.float64] | None]] = {
        "auc_by_class": class_aucs(maxima, labels, classes),
        "mean_by_class": [part.mean(0) if len(part) else None for part in of_class],
        "quantiles_by_class": [np.quantile(part, QUANTILES, axis=0).T if len(part) else None for part in of_class],
    }
    return [
        {"unit": first + unit}
        | {name: column[unit].tolist() for name, column in columns.items()}
        | {name: [part[unit].tolist() if part is not None else None for part in by_class[name]] for name in by_class}
        for unit in range(maxima.shape[1])
    ]


def class_aucs(
    maxima: NDArray[np.float32], labels: NDArray[np.int64], classes: int
) -> list[NDArray[np.float64] | None]:
    """Per class the (units,) areas under the ROC curve of each unit as a detector of it: the Mann-Whitney statistic,
    ties counting half. None for a class that all or none of the patches have."""
    ranks = rankdata(maxima, axis=0)
    found: list[NDArray[np.float64] | None] = []
    for class_ in range(classes):
        inside = labels == class_
        cases, others = int(inside.sum()), int((~inside).sum())
        if cases == 0 or others == 0:
            found.append(None)
            continue
        found.append((ranks[inside].sum(0) - cases * (cases + 1) / 2) / (cases * others))
    return found
