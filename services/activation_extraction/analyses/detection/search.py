"""Names units by machine: the combination of concepts, with AND, OR and NOT, that correlates best with the unit.

The search extends the best combinations of each length by one concept, as Bykov et al. (INVERT, 2023) do. It can miss a
combination all of whose parts correlate worse than others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Operator = Literal["AND", "AND NOT", "OR"]
OPERATORS: tuple[Operator, ...] = ("AND", "AND NOT", "OR")
BEAM = 5
"""Combinations of each length that are extended."""
GAIN = 0.02
"""What each further concept must add to the correlation."""


@dataclass(frozen=True)
class Combination:
    """A concept, and further ones that are combined with it one after the other."""

    first: int
    further: tuple[tuple[Operator, int], ...] = ()

    @property
    def concepts(self) -> set[int]:
        """The numbers of its concepts."""
        return {self.first, *(concept for _, concept in self.further)}

    def with_(self, operator: Operator, concept: int) -> "Combination":
        """The combination with one more concept."""
        return Combination(self.first, (*self.further, (operator, concept)))

    def shown(self, labels: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(patches,): which patches show it, from labels (patches, concepts)."""
        found = labels[:, self.first]
        for operator, concept in self.further:
            found = _combine(found, operator, labels[:, concept])
        return found

    def text(self, names: Sequence[str]) -> str:
        """The combination in words, such as `(mass AND NOT vessel) OR calcification`."""
        text = names[self.first]
        for number, (operator, concept) in enumerate(self.further):
            text = f"{f'({text})' if number else text} {operator} {names[concept]}"
        return text


def name_units(activations: NDArray[np.float64], labels: NDArray[np.bool_], terms: int) -> list[Combination | None]:
    """The best combination of at most `terms` concepts for each unit, from activations (patches, units) and labels
    (patches, concepts). None for a unit that correlates with none."""
    centred = activations - activations.mean(0)
    deviation = centred.std(0)
    steady = deviation > 1e-12 * np.maximum(1.0, np.abs(activations).max(0, initial=0))
    scaled = np.divide(centred, deviation, out=np.zeros_like(centred), where=steady)
    shown = np.flatnonzero(labels.any(0) & ~labels.all(0))
    return [_name_unit(scaled[:, unit], labels, shown, terms) for unit in range(activations.shape[1])]


def _name_unit(
    scaled: NDArray[np.float64], labels: NDArray[np.bool_], shown: NDArray[np.int64], terms: int
) -> Combination | None:
    beam = _best(scaled, [(Combination(concept), labels[:, concept]) for concept in shown.tolist()])
    if not beam or beam[0][0] <= 0:
        return None
    largest, best, _ = beam[0]
    for length in range(2, terms + 1):
        longer = [
            (one.with_(operator, concept), _combine(found, operator, labels[:, concept]))
            for _, one, found in beam
            for concept in shown.tolist()
            if concept not in one.concepts
            for operator in OPERATORS
        ]
        beam = _best(scaled, longer)
        if beam and beam[0][0] >= largest + GAIN * (length - len(best.concepts)):
            largest, best, _ = beam[0]
    return best


def _best(
    scaled: NDArray[np.float64], candidates: Sequence[tuple[Combination, NDArray[np.bool_]]]
) -> list[tuple[float, Combination, NDArray[np.bool_]]]:
    """The candidates with the largest correlations, at most BEAM, the first of equals first."""
    if not candidates:
        return []
    flags = np.stack([found for _, found in candidates]).astype(np.float64)
    share = flags.mean(1)
    spread = np.sqrt(share * (1 - share))
    found = np.divide(flags @ scaled / len(scaled), spread, out=np.full(len(flags), -1.0), where=spread > 0)
    order = np.argsort(-found, kind="stable")[:BEAM]
    return [(float(found[place]), *candidates[place]) for place in order]


def _combine(found: NDArray[np.bool_], operator: Operator, shown: NDArray[np.bool_]) -> NDArray[np.bool_]:
    if operator == "OR":
        return found | shown
    return found & (shown if operator == "AND" else ~shown)
