"""Draws of whole patients for intervals: patches of one patient are alike."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
MIN_PATIENTS = 3
"""The fewest patients for an interval. Two patients can be drawn in only three ways."""
SEED = 0


@lru_cache(maxsize=4)
def draw_patients(patients: int, replicates: int) -> NDArray[np.float64]:
    """(replicates, patients): how often each patient is drawn, with replacement; empty for too few patients. The array
    is read-only, because later calls return it again."""
    if patients < MIN_PATIENTS:
        return np.zeros((0, patients))
    drawn = np.random.default_rng(SEED).multinomial(patients, np.full(patients, 1 / patients), replicates)
    draws = drawn.astype(np.float64)
    draws.flags.writeable = False
    return draws


def ends_of(drawn: NDArray[np.float64], axis: int) -> NDArray[Any]:
    """(2, ...): the lower and upper ends of percentile intervals of a statistic, over its draws along an axis."""
    ends: NDArray[Any] = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=axis)
    return ends
