"""The use cases of explanations in the words of readers. The extraction service explains; this service knows the
names."""

from collections.abc import Mapping
from dataclasses import dataclass

from primitives.activation_extraction.v1.explanation_pb2 import ExplanationResult

from services.annotation.clients.extraction import ExtractionService
from services.annotation.detection.matching import concepts_in
from services.annotation.detection.schemas import UnitScores, verdict_on
from services.annotation.detection.scores import DetectionScores
from services.annotation.explanations.names import names_of_units
from services.annotation.explanations.schemas import (
    ExplainRequest,
    ExplanationInWords,
    StartedExplanation,
    UnitNames,
    UnitNameView,
)
from services.annotation.explanations.wording import in_words
from services.common.errors import Conflict
from services.common.work.ports import Ports


@dataclass
class WordedExplanations:
    """Starts explanations with the names that units have, and puts completed ones into words."""

    ports: Ports
    extraction: ExtractionService
    scores: DetectionScores

    def names(self, extraction_id: str, layer: str) -> UnitNames:
        """The names of the units of a layer; empty for an extraction that no study shows."""
        names = self._names(extraction_id, layer)
        scores = self.scores.of_units(extraction_id, layer, names)
        return UnitNames(extraction_id=extraction_id, layer=layer, names=[*_scored(names, scores).values()])

    def start(self, request: ExplainRequest, key: str = "") -> StartedExplanation:
        """Start an explanation, with all units whose name is not refuted. NotFound for an unknown extraction or
        mammogram, Conflict for an extraction that is not completed, InvalidInput for an unknown layer or class."""
        layer = request.layer or self._deepest_layer(request.extraction_id)
        names = self.names(request.extraction_id, layer).names
        named = [name.unit for name in names if name.explains]
        body = request.model_dump(exclude_none=True) | {"layer": layer, "named": named}
        started = self.extraction.start_explanation(body, key)
        return StartedExplanation(
            explanation_id=started.explanation_id,
            extraction_id=request.extraction_id,
            layer=layer,
            named=len(named),
        )

    def get(self, explanation_id: str) -> tuple[ExplanationResult, ExplanationInWords]:
        """A completed explanation, and the same with the names that its units have now. NotFound if there is none, or
        if it is not completed."""
        result = self.extraction.explanation_result(explanation_id)
        names = self._names(result.extraction_id, result.layer)
        units = [*names, *(unit.unit for unit in result.units)]
        scores = self.scores.of_units(result.extraction_id, result.layer, units)
        machine = {unit: found.machine for unit, found in scores.items() if found.machine is not None}
        return result, in_words(result, _scored(names, scores), machine)

    def _names(self, extraction_id: str, layer: str) -> dict[int, UnitNameView]:
        with self.ports.records.reading() as session:
            return names_of_units(session, extraction_id, layer)

    def _deepest_layer(self, extraction_id: str) -> str:
        found = self.extraction.extraction(extraction_id)
        if not found.results:
            raise Conflict(f"extraction {extraction_id} is {found.state}; only a completed one can explain")
        return found.results[-1].name


def _scored(names: Mapping[int, UnitNameView], scores: Mapping[int, UnitScores]) -> dict[int, UnitNameView]:
    """Names with the scores of the known concepts in them, and the verdict that follows."""
    found = {}
    for unit, name in names.items():
        by_concept = {score.concept: score for score in scores.get(unit, UnitScores()).concepts}
        of_name = [by_concept[concept] for concept in concepts_in(name.text, list(by_concept))]
        found[unit] = name.model_copy(update={"scores": of_name, "verdict": verdict_on(of_name)})
    return found
