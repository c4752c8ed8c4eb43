"""The patient-clustered bootstrap of an AUC: patches of one patient are alike, so whole patients are drawn."""

import numpy as np
from numpy.typing import NDArray

from services.training.evaluation.schemas import Estimate

LEVEL = 0.95
LEAST_USABLE = 0.5
"""Share of the draws that must hold both sides of a class for an interval to be told."""
CELLS = 1 << 22
"""Patches times draws that are worked on at once: some 30 MB an array."""


def draw_patients(patients: NDArray[np.int64], replicates: int, seed: int) -> NDArray[np.int64]:
    """How often each patient is drawn, (replicates, patients): as many as there are, with replacement.

    `patients` numbers the patient of every patch, from 0 without gaps.
    """
    count = int(patients.max()) + 1
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=replicates)


def drawn_aucs(
    positive: NDArray[np.bool_], scores: NDArray[np.float64], patients: NDArray[np.int64], draws: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The AUC of every draw, (replicates,), where each patch counts as often as its patient was drawn; NaN for a draw
    without positives or without negatives.

    Exact, with ties as halves: a positive beats the weight of the negatives below it, which are sorted once.
    """
    negative = np.flatnonzero(~positive)
    negative = negative[np.argsort(scores[negative], kind="stable")]
    below = np.searchsorted(scores[negative], scores[positive], side="left")
    up_to = np.searchsorted(scores[negative], scores[positive], side="right")
    found = []
    for chunk in np.array_split(draws, max(1, -(-len(draws) * len(scores) // CELLS))):
        weights = chunk.T.astype(np.float64)
        lost = np.zeros((len(negative) + 1, len(chunk)))
        np.cumsum(weights[patients[negative]], axis=0, out=lost[1:])
        ours = weights[patients[positive]]
        won = np.einsum("pr,pr->r", ours, lost[below] + lost[up_to]) / 2
        pairs = ours.sum(axis=0) * lost[-1]
        found.append(np.divide(won, pairs, out=np.full(len(chunk), np.nan), where=pairs > 0))
    return np.concatenate(found)


def estimate(value: float, drawn: NDArray[np.float64], patients: int) -> Estimate:
    """A figure with the percentile interval of what the draws give; draws without one are left out."""
    if patients < 2:
        return Estimate(value=value, reason="no interval: the split has one patient, and patients are drawn")
    usable = drawn[~np.isnan(drawn)]
    if len(usable) < LEAST_USABLE * len(drawn):
        told = f"no interval: {len(drawn) - len(usable)} of {len(drawn)} draws of patients lack a class"
        return Estimate(value=value, replicates=len(usable), reason=told)
    low, high = np.quantile(usable, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value=value, low=float(low), high=float(high), replicates=len(usable))
