"""DeLong's paired test of two AUCs on the same patches, also with patients as clusters.

DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988); its structural components from midranks as Sun and Xu, IEEE
Signal Processing Letters 21 (2014); clusters as Obuchowski, Biometrics 53 (1997). Neither scikit-learn nor torchmetrics
has it.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from services.training.evaluation.schemas import Difference


def paired_test(
    positive: NDArray[np.bool_], a: NDArray[np.float64], b: NDArray[np.float64], clusters: NDArray[np.int64]
) -> Difference:
    """The test of AUC(a) - AUC(b). Every patch a cluster of its own (`np.arange(n)`) is DeLong's."""
    found, covariance = aucs_with_covariance(positive, np.stack([a, b]), clusters)
    if covariance is None:
        return Difference(reason="no test: it needs positives of two patients, and negatives of two")
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    if variance <= np.finfo(np.float64).eps:
        return Difference(reason="no test: the difference does not vary; the two rank all patches alike")
    difference, error = float(found[0] - found[1]), math.sqrt(variance)
    z, half = difference / error, float(norm.ppf(0.975)) * error
    return Difference(
        low=difference - half, high=difference + half, standard_error=error, z=z, p=float(2 * norm.sf(abs(z)))
    )


def aucs_with_covariance(
    positive: NDArray[np.bool_], scores: NDArray[np.float64], clusters: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """The AUCs of (k, patches) scores and their (k, k) covariance; None where one side has a single cluster."""
    positives, negatives = int(positive.sum()), int((~positive).sum())
    ranks = rankdata(scores, axis=1)
    wins = (ranks[:, positive] - rankdata(scores[:, positive], axis=1)) / negatives  # share of negatives below each
    losses = 1 - (ranks[:, ~positive] - rankdata(scores[:, ~positive], axis=1)) / positives
    aucs = wins.mean(axis=1)
    of_wins = _sum_by_cluster(wins - aucs[:, None], clusters[positive], clusters)
    of_losses = _sum_by_cluster(losses - aucs[:, None], clusters[~positive], clusters)
    won_in, lost_in = len(np.unique(clusters[positive])), len(np.unique(clusters[~positive]))
    if won_in < 2 or lost_in < 2:
        return aucs, None
    every = len(np.unique(clusters))
    across = every / (every - 1) * of_wins @ of_losses.T
    covariance = (
        won_in / (won_in - 1) * of_wins @ of_wins.T / positives**2
        + lost_in / (lost_in - 1) * of_losses @ of_losses.T / negatives**2
        + (across + across.T) / (positives * negatives)
    )
    return aucs, covariance


def _sum_by_cluster(
    values: NDArray[np.float64], clusters: NDArray[np.int64], all_clusters: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(k, n) values summed over the patches of each cluster, (k, clusters)."""
    count = int(all_clusters.max()) + 1
    return np.stack([np.bincount(clusters, weights=row, minlength=count) for row in values])
