"""Scores of units, read from the API of the extraction service, and the names that they verify or refute."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.annotation.answer import Answer
from services.annotation.clients.extraction import ExtractionService
from services.annotation.detection.schemas import ConceptScore, verdict_on
from services.annotation.detection.scores import DetectionScores
from services.annotation.explanations.workflow import WordedExplanations
from services.annotation.tables import StudyRow
from services.common.access.edge import Edge
from services.common.errors import Unavailable
from services.common.runtime.service import HttpServer
from services.common.settings import Shared
from tests.fakes.annotation import LAYER, Annotation
from tests.fakes.extraction import Extracted, detection_rows

EXTRACTION = "extraction-1"


@pytest.fixture
def extracted(tmp_path: Path) -> Iterator[tuple[Extracted, ExtractionService]]:
    (tmp_path / "extraction").mkdir()
    found = Extracted(tmp_path / "extraction", LAYER)
    server = HttpServer(found.app(), Edge("test"), 0)
    server.start()
    yield found, ExtractionService(f"http://127.0.0.1:{server.port}", Shared())
    server.stop()


def test_scores_are_those_of_the_newest_completed_detection(extracted: tuple[Extracted, ExtractionService]) -> None:
    """Units have no scores without a completed detection, or for an unknown extraction; other kinds do not count."""
    world, client = extracted
    scores = DetectionScores(client)
    world.analyse("dissection", 1, (LAYER,))
    assert scores.of_units(EXTRACTION, LAYER, [0]) == scores.of_units("extraction-9", LAYER, [0]) == {}
    world.analyse("detection", 2, ("other",))
    assert scores.of_units(EXTRACTION, LAYER, [0]) == {}
    world.analyse("detection", 3, (LAYER,))
    found = scores.of_units(EXTRACTION, LAYER, [0, 2, 5, 0])
    assert [(unit, len(one.concepts), one.machine is not None) for unit, one in found.items()] == [
        (0, 2, True), (2, 2, False), (5, 0, False),
    ]  # fmt: skip
    assert found[0].machine is not None and found[0].machine.concept == "mass AND NOT vessel"
    assert found[2].concepts[0].correlation_low is None


def test_rows_are_read_page_by_page(
    extracted: tuple[Extracted, ExtractionService], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All rows of the requested units arrive, however few fit into a request; completed ones are read once."""
    world, client = extracted
    world.analyse("detection", 1, (LAYER,))
    monkeypatch.setattr("services.annotation.clients.extraction.ROWS_A_REQUEST", 2)
    monkeypatch.setattr("services.annotation.clients.extraction.UNITS_A_REQUEST", 1)
    scores = DetectionScores(client)
    found = scores.of_units(EXTRACTION, LAYER, [1, 0])
    rows = [row for row in detection_rows() if row["unit"] < 2]
    assert sum(len(one.concepts) + (one.machine is not None) for one in found.values()) == len(rows) == 6
    monkeypatch.setattr(client, "detection_rows", None)
    assert scores.of_units(EXTRACTION, LAYER, [1, 0]) == found


def test_names_have_the_verdict_on_their_concepts(
    extracted: tuple[Extracted, ExtractionService], annotation: Annotation
) -> None:
    """A name with a concept that held-out patients verify, one that they refute, and one without a known concept."""
    world, client = extracted
    world.analyse("detection", 1, (LAYER,))
    with annotation.ports.records.transaction() as session:
        session.get_one(StudyRow, annotation.study_id).extraction_id = EXTRACTION
    for unit, text in ((0, "Spiculated masses"), (1, "a spiculated mass or a vessel"), (2, "Dense tissue")):
        answer = Answer("yes", "yes", "single", text)
        annotation.responses.put(annotation.readers.named("Ana"), annotation.key(unit), answer, 0, f"Ana-{unit}")
    worded = WordedExplanations(annotation.ports, client, DetectionScores(client))
    names = {name.unit: name for name in worded.names(EXTRACTION, LAYER).names}
    assert {unit: name.verdict for unit, name in names.items()} == {0: "verified", 1: "refuted", 2: "unverified"}
    assert [score.concept for score in names[1].scores] == ["spiculated mass", "vessel"]
    assert names[2].scores == []


def test_without_the_extraction_service_nothing_is_guessed() -> None:
    """A service that does not answer is an error, not a name without a verdict."""
    scores = DetectionScores(ExtractionService("http://127.0.0.1:9", Shared()))
    assert scores.of_units(EXTRACTION, LAYER, []) == {}
    with pytest.raises(Unavailable):
        scores.of_units(EXTRACTION, LAYER, [0])


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([], "unverified"),
        (["verified", "verified"], "verified"),
        (["verified", "unverified"], "unverified"),
        (["verified", "refuted"], "refuted"),
    ],
)
def test_a_name_is_as_good_as_all_of_its_concepts(verdicts: list[str], expected: str) -> None:
    row = {key: value for key, value in detection_rows()[0].items() if key not in ("unit", "machine")}
    assert verdict_on([ConceptScore.model_validate(row | {"verdict": one}) for one in verdicts]) == expected
