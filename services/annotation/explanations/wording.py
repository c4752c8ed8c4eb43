"""Puts an explanation into words: which named units the prediction rests on, and how far the names carry it."""

from collections.abc import Mapping, Sequence

from primitives.activation_extraction.v1.explanation_pb2 import ExplanationResult

from services.annotation.detection.schemas import ConceptScore
from services.annotation.explanations.schemas import (
    Coverage,
    ExplanationInWords,
    NamedContribution,
    UnitNameView,
)

FLOOR = 0.3
"""The smallest part of the evidence that named units must carry for an explanation in their words."""
PRIMITIVES = 3
"""Named units in an explanation, as in the original."""
DOES_NOT_KNOW = "In the readers' words, this prediction is not explained."


def in_words(
    result: ExplanationResult,
    names: Mapping[int, UnitNameView],
    machine: Mapping[int, ConceptScore] | None = None,
    floor: float = FLOOR,
) -> ExplanationInWords:
    """An explanation with the names that its units have now, from readers and from a search. A name that held-out
    patients refute explains nothing."""
    coverage = cover(result, {unit for unit, name in names.items() if name.explains}, floor)
    found = machine or {}
    units = [_named(unit, names.get(unit.unit), found.get(unit.unit)) for unit in result.units]
    standing = [unit for unit in units if unit.label is not None and unit.label.explains]
    primitives = standing[:PRIMITIVES] if coverage.sufficient else []
    score = next(one for one in result.scores if one.name == result.class_name)
    has_named = result.HasField("named")
    return ExplanationInWords(
        explanation_id=result.explanation_id,
        extraction_id=result.extraction_id,
        layer=result.layer,
        class_name=result.class_name,
        predicted=result.predicted,
        probability=score.probability,
        logit=result.logit,
        silenced=result.named.without if has_named else None,
        alone=result.named.only if has_named else None,
        exact=result.exact,
        coverage=coverage,
        primitives=primitives,
        units=units,
        sentences=_sentences(result, coverage, primitives, score.probability),
        notes=list(result.notes),
    )


def cover(result: ExplanationResult, named: set[int], floor: float) -> Coverage:
    """What carries the evidence for the class. Nothing is covered if nothing speaks for the class."""
    positive = [max(0.0, one) for one in result.contributions]
    of_named = sum(one for unit, one in enumerate(positive) if unit in named)
    rest = max(0.0, result.bias) + max(0.0, result.rest)
    total = sum(positive) + rest
    if not total:
        return Coverage(named=0, unnamed=0, rest=1, floor=floor, sufficient=False)
    share, others = of_named / total, (sum(positive) - of_named) / total
    share, others = min(1.0, share), min(1.0, max(0.0, others))
    return Coverage(
        named=share, unnamed=others, rest=max(0.0, 1 - share - others), floor=floor, sufficient=share >= floor
    )


def _named(unit: object, label: UnitNameView | None, machine: ConceptScore | None) -> NamedContribution:
    fields = set(NamedContribution.model_fields) - {"label", "machine"}
    return NamedContribution(label=label, machine=machine, **{field: getattr(unit, field) for field in fields})


def _sentences(
    result: ExplanationResult, coverage: Coverage, primitives: Sequence[NamedContribution], probability: float
) -> list[str]:
    tiles = len(result.tiles)
    where = "the only tile" if tiles == 1 else f"tile {result.tile + 1} of {tiles}"
    sentences = [
        f"On {where}, the network predicts {result.predicted}; it gives {result.class_name} a probability of "
        f"{probability:.2f}."
    ]
    sentences.append(
        f"Of what speaks for {result.class_name}, {coverage.named:.0%} comes from units with a name, "
        f"{coverage.unnamed:.0%} from units without one, and {coverage.rest:.0%} from the rest."
    )
    if not coverage.sufficient:
        sentences.append(f"{DOES_NOT_KNOW} Named units would have to carry at least {coverage.floor:.0%}.")
        return sentences
    if primitives:
        sentences.append("It rests most on " + _listed([_phrase(unit) for unit in primitives]) + ".")
    if result.HasField("named"):
        without = result.named.without
        sentences.append(
            f"Without all named units the logit would be {without:.2f} instead of {result.logit:.2f}; "
            f"with them alone it would be {result.named.only:.2f}."
        )
    return sentences


def _phrase(unit: NamedContribution) -> str:
    assert unit.label is not None
    direction = "for" if unit.contribution >= 0 else "against"
    return (
        f"{unit.label.text} ({unit.name}: {abs(unit.share):.0%} of what speaks {direction} it; "
        f"{unit.label.agreeing} of {unit.label.readers} readers; {unit.label.verdict})"
    )


def _listed(phrases: Sequence[str]) -> str:
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"
