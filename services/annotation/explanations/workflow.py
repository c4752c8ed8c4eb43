"""The use cases of explanations in the words of readers. The extraction service explains; this service knows the
names."""

from dataclasses import dataclass

from primitives.activation_extraction.v1.explanation_pb2 import ExplanationResult

from services.annotation.clients.extraction import ExtractionService
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

    def names(self, extraction_id: str, layer: str) -> UnitNames:
        """The names of the units of a layer; empty for an extraction that no study shows."""
        return UnitNames(extraction_id=extraction_id, layer=layer, names=[*self._names(extraction_id, layer).values()])

    def start(self, request: ExplainRequest, key: str = "") -> StartedExplanation:
        """Start an explanation, with all units that have a name. NotFound for an unknown extraction or mammogram,
        Conflict for an extraction that is not completed, InvalidInput for a layer or class that it does not have."""
        layer = request.layer or self._deepest_layer(request.extraction_id)
        named = [*self._names(request.extraction_id, layer)]
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
        return result, in_words(result, self._names(result.extraction_id, result.layer))

    def _names(self, extraction_id: str, layer: str) -> dict[int, UnitNameView]:
        with self.ports.records.reading() as session:
            return names_of_units(session, extraction_id, layer)

    def _deepest_layer(self, extraction_id: str) -> str:
        found = self.extraction.extraction(extraction_id)
        if not found.results:
            raise Conflict(f"extraction {extraction_id} is {found.state}; only a completed one can explain")
        return found.results[-1].name
