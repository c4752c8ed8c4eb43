"""DeLong's paired test of two AUCs on the same patches, with patches or patients as the independent clusters.

The test is from DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988). Its structural components are computed from
midranks as in Sun and Xu, IEEE Signal Processing Letters 21 (2014), and clusters enter as in Obuchowski, Biometrics 53
(1997). Neither scikit-learn nor torchmetrics has it.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from services.training.evaluation.schemas import Difference


def paired_test(
    positive: NDArray[np.bool_], a: NDArray[np.float64], b: NDArray[np.float64], clusters: NDArray[np.int64]
) -> Difference:
    """Test AUC(a) - AUC(b), given the number of each patch's cluster. If every patch is a cluster of its own
    (`np.arange(n)`), this is DeLong's test."""
    aucs, covariance = aucs_with_covariance(positive, np.stack([a, b]), clusters)
    if covariance is None:
        return Difference(reason="no test: it needs positives of two patients, and negatives of two patients")
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    if variance <= np.finfo(np.float64).eps:
        return Difference(reason="no test: the difference does not vary, because both rank all patches alike")
    difference, error = float(aucs[0] - aucs[1]), math.sqrt(variance)
    z, half = difference / error, float(norm.ppf(0.975)) * error
    return Difference(
        low=difference - half, high=difference + half, standard_error=error, z=z, p=float(2 * norm.sf(abs(z)))
    )


def aucs_with_covariance(
    positive: NDArray[np.bool_], scores: NDArray[np.float64], clusters: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Compute the AUCs (k,) of k models with scores (k, patches), and their covariance (k, k). The covariance is None
    if the positives or the negatives are all in one cluster."""
    positives, negatives = int(positive.sum()), int((~positive).sum())
    ranks = rankdata(scores, axis=1)
    wins = (ranks[:, positive] - rankdata(scores[:, positive], axis=1)) / negatives  # share of negatives below each
    losses = 1 - (ranks[:, ~positive] - rankdata(scores[:, ~positive], axis=1)) / positives
    aucs = wins.mean(axis=1)
    win_totals = _total_by_cluster(wins - aucs[:, None], clusters[positive], clusters)
    loss_totals = _total_by_cluster(losses - aucs[:, None], clusters[~positive], clusters)
    win_clusters, loss_clusters = len(np.unique(clusters[positive])), len(np.unique(clusters[~positive]))
    if win_clusters < 2 or loss_clusters < 2:
        return aucs, None
    all_clusters = len(np.unique(clusters))
    across = all_clusters / (all_clusters - 1) * win_totals @ loss_totals.T
    covariance = (
        win_clusters / (win_clusters - 1) * win_totals @ win_totals.T / positives**2
        + loss_clusters / (loss_clusters - 1) * loss_totals @ loss_totals.T / negatives**2
        + (across + across.T) / (positives * negatives)
    )
    return aucs, covariance


def _total_by_cluster(
    values: NDArray[np.float64], clusters: NDArray[np.int64], all_clusters: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Add up values (k, n) over the patches of each cluster: (k, clusters)."""
    count = int(all_clusters.max()) + 1
    return np.stack([np.bincount(clusters, weights=row, minlength=count) for row in values])
