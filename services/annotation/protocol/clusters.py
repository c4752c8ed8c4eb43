"""Finds units whose patches fall into two groups.

The patches of a unit are points: how strongly all other units of the layer respond to them. Two-means divides them. A
unit counts as two groups only if

1. the smaller group has at least a quarter of the patches, and LEAST of them;
2. the mean silhouette is at least SILHOUETTE, from which Kaufman and Rousseeuw (Finding Groups in Data, 1990) speak of
   a reasonable structure;
3. evenly spread points would not look like that: in at most SIGNIFICANCE of drawings of as many points, spread evenly
   along the principal axes with the variances of these points, two-means explains as much of the variance. An even
   spread is the reference of the gap statistic (Tibshirani, Walther and Hastie, JRSS B 2001), since two-means explains
   more of it than of a single group with a peak.

The result is determined by the points.
"""

import numpy as np
from numpy.typing import NDArray

LEAST = 3
"""The fewest patches of a group."""
SILHOUETTE = 0.5
DRAWINGS = 199
SIGNIFICANCE = 0.01
MOST_STEPS = 50
"""Steps of two-means; fewer are needed, because each one decreases the variance within groups."""

Points = NDArray[np.float64]
Groups = NDArray[np.bool_]


def two_groups(points: Points) -> Groups | None:
    """Divide points (patches, features) into two groups; the first point is in the group False. None if they are one
    group."""
    places = _principal(points)
    if len(places) < 4 * LEAST or places.shape[1] == 0:
        return None
    groups, explained = (found[0] for found in _two_means(places[None]))
    smaller = min(int(groups.sum()), int((~groups).sum()))
    if smaller < max(LEAST, len(places) // 4) or _silhouette(places, groups) < SILHOUETTE:
        return None
    if _share_of_drawings(places, float(explained)) > SIGNIFICANCE:
        return None
    named: Groups = groups ^ groups[0]
    return named


def _principal(points: Points) -> Points:
    """The coordinates of points along their principal axes, which keep all distances: (patches, at most patches)."""
    centred = points - points.mean(axis=0)
    variances, axes = np.linalg.eigh(centred @ centred.T)
    kept = variances > max(float(variances.max(initial=0.0)) * 1e-9, 1e-12)
    found: Points = axes[:, kept] * np.sqrt(variances[kept])
    return found


def _two_means(places: Points) -> tuple[Groups, Points]:
    """Divide sets of points (sets, points, axes) into two groups each: (sets, points), and the share of the variance
    that the groups explain. It begins with the best cut along the axis of the largest variance."""
    count = places.shape[1]
    groups = _best_cut(places)
    for _ in range(MOST_STEPS):
        centres = [_means(places, groups), _means(places, ~groups)]
        near, far = (((places - centre[:, None]) ** 2).sum(axis=2) for centre in centres)
        changed = near < far
        if (changed == groups).all():
            break
        groups = changed
    middle = places.mean(axis=1)
    between = sum(part.sum(axis=1) * ((_means(places, part) - middle) ** 2).sum(axis=1) for part in (groups, ~groups))
    total = places.var(axis=1).sum(axis=1) * count
    return groups, between / total


def _best_cut(places: Points) -> Groups:
    axis = places.var(axis=1).argmax(axis=1)
    along = np.take_along_axis(places, axis[:, None, None], axis=2)[:, :, 0]
    order = along.argsort(axis=1, kind="stable")
    sums = np.take_along_axis(places, order[:, :, None], axis=1).cumsum(axis=1)
    before, total = sums[:, :-1], sums[:, -1:]
    counts = np.arange(1, places.shape[1])
    between = (before**2).sum(axis=2) / counts + ((total - before) ** 2).sum(axis=2) / counts[::-1]
    groups = np.zeros(along.shape, bool)
    np.put_along_axis(groups, order, np.arange(along.shape[1]) > between.argmax(axis=1)[:, None], axis=1)
    return groups


def _means(places: Points, part: Groups) -> Points:
    weights = part / np.maximum(part.sum(axis=1, keepdims=True), 1)
    found: Points = np.einsum("sp,spa->sa", weights, places)
    return found


def _silhouette(places: Points, groups: Groups) -> float:
    """The mean over the points of (b - a) / max(a, b): a is the mean distance to the own group, b to the other one."""
    apart = np.sqrt(((places[:, None] - places[None]) ** 2).sum(axis=2))
    same = groups[:, None] == groups[None]
    own = (apart * same).sum(axis=1) / np.maximum(same.sum(axis=1) - 1, 1)
    other = (apart * ~same).sum(axis=1) / np.maximum((~same).sum(axis=1), 1)
    return float(((other - own) / np.maximum(own, other)).mean())


def _share_of_drawings(places: Points, explained: float) -> float:
    """In which share of drawings of evenly spread points two-means explains as much: (1 + k) / (1 + DRAWINGS)."""
    even = (np.random.default_rng(0).random((DRAWINGS, *places.shape)) - 0.5) * 12**0.5  # of variance 1
    _, found = _two_means(even * places.std(axis=0, ddof=1))
    return (1 + int((found >= explained).sum())) / (1 + DRAWINGS)
