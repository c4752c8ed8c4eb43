"""Reads the scores of units from the newest completed detection of their extraction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from services.annotation.clients.extraction import ExtractionService
from services.annotation.detection.schemas import ConceptScore, DetectionRow, UnitScores
from services.common.errors import NotFound
from services.common.machine.cache import BoundedCache

KEPT_ROWS = 200_000
"""Rows that stay in memory: some 100 MB."""


@dataclass
class DetectionScores:
    """The scores of units, read from the extraction service and kept: the rows of a completed analysis never change."""

    extraction: ExtractionService
    _kept: BoundedCache[dict[int, UnitScores]] = field(default_factory=lambda: BoundedCache(KEPT_ROWS, _weight))

    def of_units(self, extraction_id: str, layer: str, units: Iterable[int]) -> dict[int, UnitScores]:
        """The scores of some units of a layer; empty if no completed detection has the layer, or if there is no such
        extraction. Unavailable if the extraction service does not answer."""
        wanted = tuple(dict.fromkeys(units))
        if not wanted:
            return {}
        try:
            analysis_id = self.extraction.newest_analysis(extraction_id, "detection", layer)
        except NotFound:
            return {}
        if not analysis_id:
            return {}
        return self._kept.get((analysis_id, layer, wanted), lambda: self._read(analysis_id, layer, wanted))

    def _read(self, analysis_id: str, layer: str, units: Sequence[int]) -> dict[int, UnitScores]:
        found = {unit: UnitScores() for unit in units}
        for row in self.extraction.detection_rows(analysis_id, layer, units):
            _add(found[row.unit], row)
        return found


def _weight(scores: dict[int, UnitScores]) -> int:
    return sum(1 + len(one.concepts) for one in scores.values())


def _add(scores: UnitScores, row: DetectionRow) -> None:
    score = ConceptScore.model_validate(row.model_dump(exclude={"unit", "machine"}))
    if row.machine:
        scores.machine = score
    else:
        scores.concepts.append(score)
