"""The result of detection for a layer: the scores and the verdict of every unit and concept, and of machine names."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from services.activation_extraction.analyses.detection.scores import (
    Flags,
    Floats,
    Sample,
    Scores,
    best_thresholds,
    correlations,
    score,
)
from services.activation_extraction.analyses.detection.search import Combination, name_units

Verdict = Literal["verified", "unverified", "refuted"]

RATE = 0.05
"""The share of units of the baselines that may pass, and the false discovery rate."""


@dataclass(frozen=True)
class Chosen:
    """The part on which names are chosen: maxima (patches, units) of the network and of those with random
    weights, and labels (patches, concepts)."""

    trained: Floats
    random: Floats
    labels: Flags


@dataclass(frozen=True)
class Activations:
    """The activations of a layer: the part on which names are chosen, and the samples on which they are scored."""

    chosen: Chosen
    trained: Sample
    random: Sample


def detection_rows(
    layer: Activations, concepts: Sequence[str], terms: int, replicates: int, heartbeat: Callable[[], None]
) -> list[dict[str, Any]]:
    """The rows of DETECTION_SCHEMA by unit: its machine name, then all concepts in their order. Concepts that no scored
    patch shows have no rows. Calls `heartbeat` often."""
    shown = np.flatnonzero(layer.trained.labels.any(0))
    sham = Sample(sham_activations(layer.trained), layer.trained.labels, layer.trained.patients)
    machine = _MachineNames.of(layer, sham, terms, replicates, heartbeat)
    sample = Sample(layer.trained.activations, layer.trained.labels[:, shown], layer.trained.patients)
    thresholds = best_thresholds(layer.chosen.trained, layer.chosen.labels[:, shown])
    scores = score(sample, thresholds, replicates, heartbeat)
    of_concept = [
        baseline | _support(labels, sample.patients)
        for baseline, labels in zip(_baselines(layer, sham, shown), sample.labels.T, strict=True)
    ]
    q = false_discovery_control(np.concatenate([scores.p.ravel(), [one.p[0, 0] for one in machine.scores.values()]]))
    by_concept = q[: scores.p.size].reshape(scores.p.shape)
    by_name = dict(zip(machine.scores, q[scores.p.size :], strict=True))
    rows = []
    for unit in range(sample.activations.shape[1]):
        if unit in machine.scores:
            name = machine.names[unit]
            facts = {"unit": unit, "concept": name.text(concepts), "machine": True, "q": float(by_name[unit])}
            facts |= machine.baseline | _support(name.shown(layer.trained.labels), layer.trained.patients)
            rows.append(_row(machine.scores[unit], 0, 0, facts))
        for place, concept in enumerate(shown.tolist()):
            facts = {"unit": unit, "concept": concepts[concept], "machine": False, "q": float(by_concept[place, unit])}
            rows.append(_row(scores, place, unit, facts | of_concept[place]))
    return rows


def _baselines(layer: Activations, sham: Sample, shown: NDArray[np.int64]) -> Iterator[dict[str, float]]:
    """For each concept that is shown, the baselines' quantiles of the correlation, and the floor. With the rate divided
    by the number of concepts, at most a share RATE of the baselines' units is above the floor of any concept."""
    labels, strict = layer.trained.labels[:, shown], 1 - RATE / max(1, len(shown))
    of_random, of_sham = (correlations(one.activations, labels) for one in (layer.random, sham))
    for random, shams in zip(of_random, of_sham, strict=True):
        yield {
            "random": float(np.quantile(random, 1 - RATE)),
            "sham": float(np.quantile(shams, 1 - RATE)),
            "floor": float(max(np.quantile(random, strict), np.quantile(shams, strict))),
        }


@dataclass(frozen=True)
class _MachineNames:
    """The names that a search gave the units, by unit, with their scores; and the same search's baselines."""

    names: dict[int, Combination]
    scores: dict[int, Scores]
    baseline: dict[str, float]

    @classmethod
    def of(
        cls, layer: Activations, sham: Sample, terms: int, replicates: int, heartbeat: Callable[[], None]
    ) -> "_MachineNames":
        labels = layer.chosen.labels
        names = _named(layer.chosen.trained, labels, terms)
        heartbeat()
        scores = {}
        for unit, name in names.items():
            [found, expected] = [name.shown(one)[:, None] for one in (labels, layer.trained.labels)]
            thresholds = best_thresholds(layer.chosen.trained[:, [unit]], found)
            sample = Sample(layer.trained.activations[:, [unit]], expected, layer.trained.patients)
            scores[unit] = score(sample, thresholds, replicates, heartbeat)
        of_random = _achieved(_named(layer.chosen.random, labels, terms), layer.random)
        of_sham = _achieved(names, sham)
        heartbeat()
        values = {"random": float(np.quantile(of_random, 1 - RATE)), "sham": float(np.quantile(of_sham, 1 - RATE))}
        return cls(names, scores, values | {"floor": max(values.values())})


def _named(activations: Floats, labels: Flags, terms: int) -> dict[int, Combination]:
    found = name_units(activations, labels, terms)
    return {unit: name for unit, name in enumerate(found) if name is not None}


def _achieved(names: dict[int, Combination], sample: Sample) -> Floats:
    """(units,): the correlation of each unit with its name; 0 for a unit without one."""
    found = np.zeros(sample.activations.shape[1])
    for unit, name in names.items():
        found[unit] = correlations(sample.activations[:, [unit]], name.shown(sample.labels)[:, None])[0, 0]
    return found


def sham_activations(sample: Sample) -> Floats:
    """Activations (patches, units) in which every patient has those of the next patient, repeated as often as needed.
    What a unit and a concept share beyond their places in mammograms is gone."""
    sham = np.empty_like(sample.activations)
    rows = [np.flatnonzero(sample.patients == patient) for patient in range(sample.patient_count)]
    for own, other in zip(rows, rows[1:] + rows[:1], strict=True):
        sham[own] = sample.activations[np.resize(other, len(own))]
    return sham


def _row(scores: Scores, concept: int, unit: int, facts: dict[str, Any]) -> dict[str, Any]:
    row = dict(facts, p=float(scores.p[concept, unit]))
    for name in ("correlation", "f1", "iou", "auprc"):
        interval = getattr(scores, name)
        for end, values in (("", interval.value), ("_low", interval.low), ("_high", interval.high)):
            value = float(values[concept, unit])
            row[f"{name}{end}"] = None if math.isnan(value) else value
    return row | {"verdict": verdict(row)}


def verdict(row: dict[str, Any]) -> Verdict:
    """What the scores of a row say of the name.

    Verified: the correlation is above that of the baselines' units, its interval is above 0, and its false discovery
    rate is at most RATE. Refuted: the whole interval is at or below the baselines' floor. Else unverified, as with too
    few patients for an interval.
    """
    low, high = row["correlation_low"], row["correlation_high"]
    if low is None:
        return "unverified"
    if row["q"] <= RATE and low > 0 and row["correlation"] > row["floor"]:
        return "verified"
    return "refuted" if high <= row["floor"] else "unverified"


def _support(shown: Flags, patients: NDArray[np.int64]) -> dict[str, float]:
    return {"patients": len(np.unique(patients[shown])), "patches": int(shown.sum())}
