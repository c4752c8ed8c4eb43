"""Scores of units as detectors of concepts: correlation, F1, IoU and the area under the precision-recall curve.

These are the scores that fall when half of a concept's labels are removed and when as many are added (Oikarinen et al.,
ICML 2025); recall, AUC and correlation over selected patches do not. A patch is one sample; a unit's activation is the
maximum of its map. Intervals come from draws of whole patients.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from services.activation_extraction.analyses.patient_draws import MIN_PATIENTS, draw_patients, ends_of

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

UNITS = 64
"""Units that are scored together, at most."""
EXACT_RANKS, LEVELS_PER_DOUBLING = 128, 32
"""Ranks from the top that keep a level of their own in intervals of the AUPRC, and levels for each doubling below."""


@dataclass(frozen=True)
class Sample:
    """Activations (patches, units), labels (patches, concepts) and the number of each patch's patient, from 0. Every
    patient has a patch."""

    activations: Floats
    labels: Flags
    patients: NDArray[np.int64]

    @property
    def patient_count(self) -> int:
        """The number of patients."""
        return int(self.patients.max()) + 1 if len(self.patients) else 0

    def by_patient(self, values: Floats) -> Floats:
        """The sums of values (patches, ...) over the patches of each patient, (patients, ...)."""
        order = np.argsort(self.patients, kind="stable")
        starts = np.searchsorted(self.patients[order], np.arange(self.patient_count))
        sums: Floats = np.add.reduceat(values[order], starts, axis=0)
        return sums


@dataclass(frozen=True)
class Interval:
    """A score of every unit and concept, (concepts, units), and the ends of its interval; NaN with too few patients."""

    value: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Scores:
    """The scores of all units for all concepts, with one-sided p values (concepts, units) of the correlation."""

    correlation: Interval
    f1: Interval
    auprc: Interval
    p: Floats

    @property
    def iou(self) -> Interval:
        """Intersection over union of the patches above the threshold and those with the concept. It rises with F1."""
        return Interval(*(one / (2 - one) for one in (self.f1.value, self.f1.low, self.f1.high)))


def best_thresholds(activations: Floats, labels: Flags) -> Floats:
    """(concepts, units): the activation from which on a unit is active, so that F1 is largest; the highest of ties."""
    positives = labels.sum(0)
    best = np.empty((labels.shape[1], activations.shape[1]))
    for unit in range(activations.shape[1]):
        values, hits, counts = _ranked(activations[:, unit], labels)
        f1 = 2 * hits / (counts[:, None] + positives)
        best[:, unit] = values[f1.argmax(0)] if len(values) else np.inf
    return best


def average_precisions(activations: Floats, labels: Flags) -> Floats:
    """(concepts, units): the area under the precision-recall curve, with ties as one step; 0 without positives."""
    found = np.zeros((labels.shape[1], activations.shape[1]))
    for unit in range(activations.shape[1]):
        _, hits, counts = _ranked(activations[:, unit], labels)
        gained = np.diff(hits, axis=0, prepend=0)
        found[:, unit] = _ratio((hits / counts[:, None] * gained).sum(0), hits[-1].astype(np.float64))
    return found


def correlations(activations: Floats, labels: Flags) -> Floats:
    """(concepts, units): Pearson's correlation; 0 for a constant unit or concept."""
    flags = labels.astype(np.float64)
    centred, shown = activations - activations.mean(0), flags - flags.mean(0)
    scale = np.sqrt((shown**2).sum(0))[:, None] * np.sqrt((centred**2).sum(0))
    return _ratio(shown.T @ centred, scale)


def _ranked(values: Floats, labels: Flags) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Distinct values from the largest, with the positives (values, concepts) and the patches at or above each."""
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else np.zeros(0, dtype=np.int64)
    return ranked[ends], np.cumsum(labels[order], axis=0, dtype=np.int64)[ends], ends + 1


def _ratio(above: Floats, below: Floats) -> Floats:
    """A quotient that is 0 where the divisor is 0, or so small that it is only rounding."""
    small = 1e-12 * max(1.0, float(np.abs(below).max(initial=0)))
    result: Floats = np.divide(above, below, out=np.zeros_like(above), where=below > small)
    return result


def score(sample: Sample, thresholds: Floats, replicates: int, heartbeat: Callable[[], None]) -> Scores:
    """Score units, given their (concepts, units) thresholds. Calls `heartbeat` after each group of units."""
    units, draws, parts = sample.activations.shape[1], draw_patients(sample.patient_count, replicates), []
    for group in np.array_split(np.arange(units), -(-units // UNITS)):
        of_group = Sample(sample.activations[:, group], sample.labels, sample.patients)
        parts.append(_score_group(of_group, thresholds[:, group], draws))
        heartbeat()
    return Scores(
        correlation=_side_by_side([part.correlation for part in parts]),
        f1=_side_by_side([part.f1 for part in parts]),
        auprc=_side_by_side([part.auprc for part in parts]),
        p=np.concatenate([part.p for part in parts], axis=1),
    )


def _side_by_side(parts: Sequence[Interval]) -> Interval:
    """The intervals of groups of units as one."""
    return Interval(
        np.concatenate([part.value for part in parts], axis=1),
        np.concatenate([part.low for part in parts], axis=1),
        np.concatenate([part.high for part in parts], axis=1),
    )


def _score_group(sample: Sample, thresholds: Floats, draws: Floats) -> Scores:
    active = sample.activations[:, None, :] >= thresholds  # (patches, concepts, units)
    hits = sample.by_patient((active & sample.labels[:, :, None]).astype(np.float64))
    called, shown = sample.by_patient(active.astype(np.float64)), sample.by_patient(sample.labels.astype(np.float64))
    f1 = _with_interval(lambda weights: _f1(weights, hits, called, shown), draws, sample.patient_count)
    moments = _Moments.of(sample)
    correlation = _with_interval(moments.correlation, draws, sample.patient_count)
    return Scores(correlation, f1, _auprc(sample, draws), moments.p_values())


def _with_interval(statistic: Callable[[Floats], Floats], draws: Floats, patients: int) -> Interval:
    """A statistic of weights (draws, patients) to (draws, concepts, units), with its interval over the draws."""
    [value] = statistic(np.ones((1, patients)))
    if not len(draws):
        return Interval(value, np.full_like(value, np.nan), np.full_like(value, np.nan))
    low, high = ends_of(statistic(draws), axis=0)
    return Interval(value, low, high)


def _f1(weights: Floats, hits: Floats, called: Floats, shown: Floats) -> Floats:
    both = np.tensordot(weights, hits, 1)
    return _ratio(2 * both, np.tensordot(weights, called, 1) + np.tensordot(weights, shown, 1)[:, :, None])


@dataclass(frozen=True)
class _Moments:
    """Sums over the patches of each patient: the number of patches (patients,), labels (patients, concepts),
    activations and their squares (patients, units), and products (patients, concepts, units)."""

    patches: Floats
    labels: Floats
    activations: Floats
    squares: Floats
    products: Floats

    @classmethod
    def of(cls, sample: Sample) -> "_Moments":
        # Centred values lose no digits in differences of large sums.
        centred, flags = sample.activations - sample.activations.mean(0), sample.labels.astype(np.float64)
        products = np.zeros((sample.patient_count, flags.shape[1], centred.shape[1]))
        for patient in range(sample.patient_count):
            of_patient = sample.patients == patient
            products[patient] = flags[of_patient].T @ centred[of_patient]
        return cls(
            sample.by_patient(np.ones(len(flags))),
            sample.by_patient(flags),
            sample.by_patient(centred),
            sample.by_patient(centred**2),
            products,
        )

    def correlation(self, weights: Floats) -> Floats:
        """(draws, concepts, units), for weights of patients."""
        count = (weights @ self.patches)[:, None]
        labels, activations = weights @ self.labels, weights @ self.activations
        covariance = np.tensordot(weights, self.products, 1) - labels[:, :, None] * (activations / count)[:, None, :]
        of_labels = np.maximum(0, labels - labels**2 / count)
        of_activations = np.maximum(0, weights @ self.squares - activations**2 / count)
        return _ratio(covariance, np.sqrt(of_labels)[:, :, None] * np.sqrt(of_activations)[:, None, :])

    def p_values(self) -> Floats:
        """(concepts, units): one-sided p values of no or a negative association, from the variance of the patients'
        contributions to the covariance; 1 with too few patients, or if fewer than that show the concept."""
        patients, count = len(self.patches), self.patches.sum()
        mean_label, mean_activation = self.labels.sum(0) / count, self.activations.sum(0) / count
        parts = (
            self.products
            - self.labels[:, :, None] * mean_activation
            - mean_label[:, None] * self.activations[:, None, :]
            + self.patches[:, None, None] * mean_label[:, None] * mean_activation
        )
        if patients < MIN_PATIENTS:
            return np.ones(parts.shape[1:])
        error = np.sqrt(patients / (patients - 1) * ((parts - parts.mean(0)) ** 2).sum(0))
        found: Floats = t.sf(_ratio(parts.sum(0), error), patients - 1)
        found[(self.labels > 0).sum(0) < MIN_PATIENTS] = 1.0
        return found


def _auprc(sample: Sample, draws: Floats) -> Interval:
    """The exact area, and its interval on levels of the activation: one for each rank at the top, wider ones below."""
    value = average_precisions(sample.activations, sample.labels)
    low, high = np.full_like(value, np.nan), np.full_like(value, np.nan)
    if len(draws):
        for unit in range(value.shape[1]):
            areas = _drawn_areas(sample, _levels(sample.activations[:, unit]), draws)
            low[:, unit], high[:, unit] = ends_of(areas, axis=1)
    return Interval(value, low, high)


def _drawn_areas(sample: Sample, levels: NDArray[np.int64], draws: Floats) -> Floats:
    """(concepts, draws): the area for draws of patients. Only levels with positives add to it."""
    size = int(levels.max()) + 1
    place, total = sample.patients * size + levels, sample.patient_count * size
    weights = draws.astype(np.float32)  # counts below 2**24 are exact
    counts = np.cumsum(weights @ np.bincount(place, minlength=total).reshape(-1, size).astype(np.float32), axis=1)
    areas = np.zeros((sample.labels.shape[1], len(draws)))
    for concept, shown in enumerate(sample.labels.T):
        positives = np.bincount(place[shown], minlength=total).reshape(-1, size).astype(np.float32)
        filled = np.flatnonzero(positives.any(0))
        gained = weights @ positives[:, filled]
        hits = np.cumsum(gained, axis=1)
        area = (gained * hits / np.maximum(counts[:, filled], 1)).sum(1, dtype=np.float64)
        areas[concept] = _ratio(area, hits[:, -1].astype(np.float64)) if len(filled) else 0.0
    return areas


def _levels(values: Floats) -> NDArray[np.int64]:
    """The level of each value, from 0 for the largest. Equal values have one level."""
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    last = np.searchsorted(-ranked, -ranked, side="right") - 1
    coarse = EXACT_RANKS + np.floor(LEVELS_PER_DOUBLING * np.log2(np.maximum(last, EXACT_RANKS) / EXACT_RANKS))
    levels = np.empty(len(values), dtype=np.int64)
    levels[order] = np.unique(np.where(last < EXACT_RANKS, last, coarse), return_inverse=True)[1]
    return levels
