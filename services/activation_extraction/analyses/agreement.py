"""Measures how well units agree with phenomena, from counts of cells, with intervals over patients."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.activation_extraction.analyses.context import Heartbeat
from services.activation_extraction.analyses.patient_draws import draw_patients, ends_of

CELLS = 1 << 20
"""Replicates times units in an array, at most: 8 MB."""


@dataclass(frozen=True)
class Counts:
    """Counts of cells in each patient's patches: `above` (patients, units) are above the unit's threshold, `inside`
    (patients, phenomena) are within the outlines of the phenomenon, and `both` (patients, phenomena, units) are
    both."""

    above: NDArray[np.int64]
    inside: NDArray[np.int64]
    both: NDArray[np.int64]


def agreement_rows(
    counts: Counts, phenomena: Sequence[str], thresholds: NDArray[np.float64], replicates: int, heartbeat: Heartbeat
) -> list[dict[str, Any]]:
    """The rows of DISSECTION_SCHEMA by unit and then phenomenon, for the phenomena that the patches show. Calls
    `heartbeat` after each part of the intervals."""
    shown = np.flatnonzero(counts.inside.sum(0))
    above, both = counts.above.sum(0), counts.both.sum(0)[shown]
    inside = counts.inside.sum(0)[shown]
    iou = ious(above, inside[:, None], both)
    low, high = _intervals(counts, shown, replicates, heartbeat)
    best = np.where(iou.max(0) > 0, iou.argmax(0), -1)
    return [
        {
            "unit": unit,
            "phenomenon": phenomena[phenomenon],
            "threshold": float(thresholds[unit]),
            "iou": float(iou[row, unit]),
            "iou_low": None if low is None else float(low[row, unit]),
            "iou_high": None if high is None else float(high[row, unit]),
            "precision": float(both[row, unit] / above[unit]) if above[unit] else None,
            "recall": float(both[row, unit] / inside[row]),
            "best": bool(best[unit] == row),
        }
        for unit in range(len(above))
        for row, phenomenon in enumerate(shown.tolist())
    ]


def ious(above: NDArray[Any], inside: NDArray[Any], both: NDArray[Any]) -> NDArray[np.float64]:
    """Intersection over union; 0 if neither side has a cell."""
    either = (above + inside - both).astype(np.float64)
    found: NDArray[np.float64] = np.divide(both, either, out=np.zeros_like(either), where=either > 0)
    return found


def _intervals(
    counts: Counts, shown: NDArray[np.int64], replicates: int, heartbeat: Heartbeat
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | tuple[None, None]:
    """The lower and upper ends of percentile intervals of the IoU, each (phenomena, units), from draws of whole
    patients. None for too few patients."""
    patients, units = counts.above.shape
    draws = draw_patients(patients, replicates)
    if not len(draws):
        return None, None
    bounds = np.empty((2, len(shown), units))
    for chunk in np.array_split(np.arange(units), max(1, -(-units * replicates // CELLS))):
        above = draws @ counts.above[:, chunk]
        for row, phenomenon in enumerate(shown):
            inside = (draws @ counts.inside[:, phenomenon])[:, None]
            drawn = ious(above, inside, draws @ counts.both[:, phenomenon, chunk])
            bounds[:, row, chunk] = ends_of(drawn, axis=0)
            heartbeat()
    return bounds[0], bounds[1]
