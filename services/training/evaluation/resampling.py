"""The bootstrap of an AUC with patients as clusters: patches of one patient are alike, so whole patients are drawn."""

import numpy as np
from numpy.typing import NDArray

from services.training.evaluation.schemas import Estimate

LEVEL = 0.95
LEAST_USABLE = 0.5
"""An interval needs at least this share of draws that contain both sides of a class."""
CELLS = 1 << 22
"""Patches times draws that are computed at once: an array has about 30 MB."""


def draw_patients(patients: NDArray[np.int64], replicates: int, seed: int) -> NDArray[np.int64]:
    """Draw patients with replacement; each draw has the split's number of patients. Return how often each one was
    drawn: (replicates, patients).

    `patients` (patches,) numbers the patient of each patch, from 0 without gaps.
    """
    count = int(patients.max()) + 1
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=replicates)


def drawn_aucs(
    positive: NDArray[np.bool_], scores: NDArray[np.float64], patients: NDArray[np.int64], draws: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Compute the AUC of each draw, (replicates,). A patch counts as often as its patient was drawn; a draw without
    positives or without negatives has NaN.

    The result is exact, with ties counted as halves: each positive wins against the total weight of the negatives below
    it, and the negatives are sorted only once.
    """
    negative = np.flatnonzero(~positive)
    negative = negative[np.argsort(scores[negative], kind="stable")]
    below = np.searchsorted(scores[negative], scores[positive], side="left")
    up_to = np.searchsorted(scores[negative], scores[positive], side="right")
    aucs = []
    for chunk in np.array_split(draws, max(1, -(-len(draws) * len(scores) // CELLS))):
        weights = chunk.T.astype(np.float64)
        weight_before = np.zeros((len(negative) + 1, len(chunk)))
        np.cumsum(weights[patients[negative]], axis=0, out=weight_before[1:])
        positive_weights = weights[patients[positive]]
        won = np.einsum("pr,pr->r", positive_weights, weight_before[below] + weight_before[up_to]) / 2
        pairs = positive_weights.sum(axis=0) * weight_before[-1]
        aucs.append(np.divide(won, pairs, out=np.full(len(chunk), np.nan), where=pairs > 0))
    return np.concatenate(aucs)


def estimate(value: float, drawn: NDArray[np.float64], patients: int) -> Estimate:
    """Return a value with the percentile interval of the same figure over all draws. Draws that are NaN are left
    out."""
    if patients < 2:
        return Estimate(value=value, reason="no interval: the split has one patient, and intervals need several")
    usable = drawn[~np.isnan(drawn)]
    if len(usable) < LEAST_USABLE * len(drawn):
        reason = f"no interval: {len(drawn) - len(usable)} of {len(drawn)} draws of patients lack a class"
        return Estimate(value=value, replicates=len(usable), reason=reason)
    low, high = np.quantile(usable, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value=value, low=float(low), high=float(high), replicates=len(usable))
