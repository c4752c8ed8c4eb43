"""The use cases of explanations."""

import hashlib
from typing import Any

import pytest
from primitives.activation_extraction.v1 import events_pb2

from services.activation_extraction.tables import ExtractionRow
from services.common.errors import Conflict, InvalidInput, JobFailed, NotFound
from services.common.work.starts import CallKey
from tests.fakes.raw.dicom import file_bytes, mammogram
from tests.unit.activation_extraction.explanations.explained import HEIGHT, WIDTH, Explained


def test_an_explanation_from_upload_to_event(explained: Explained) -> None:
    """One command, one job, one event with the manifest; performed twice it is explained once."""
    started = explained.begin(units=3)
    assert (started.state, started.extraction_id) == ("queued", "extraction-1")
    [command] = explained.sent()
    explained.explanations.explain(command)
    explained.explanations.explain(command)
    [event] = explained.sent()
    assert isinstance(event, events_pb2.ExplanationCompleted)
    view = explained.explanations.get(started.explanation_id)
    assert (view.state, event.manifest.key) == ("completed", view.manifest.key if view.manifest else "")
    assert [name for name, _ in explained.runner.calls] == ["explain_mammogram"]
    found = explained.explanations.result(view.explanation_id)
    assert (found.explanation_id, found.height, found.width) == (view.explanation_id, HEIGHT, WIDTH)
    assert len(found.units) == 3
    assert [one.explanation_id for one in explained.explanations.all().explanations] == [view.explanation_id]
    for preview in (False, True):
        assert explained.explanations.picture(view.explanation_id, preview).startswith(b"\xff\xd8")


def test_an_upload_is_stored_once_and_without_identity(explained: Explained) -> None:
    """The same file has the same name, which is the hash of what is stored; nothing of the sent header is in it."""
    sent = file_bytes(mammogram(PatientName="Jane^Doe"))
    first, second = explained.explanations.upload(sent), explained.explanations.upload(sent)
    assert first == second
    stored = explained.blobs.get("activation-extraction", f"mammograms/{first.sha256}")
    assert hashlib.sha256(stored).hexdigest() == first.sha256 != hashlib.sha256(sent).hexdigest()
    assert (first.kind, first.size) == ("dicom", len(stored))
    assert b"Jane" in sent and b"Jane" not in stored
    with pytest.raises(InvalidInput, match="neither DICOM nor PNG nor JPEG"):
        explained.explanations.upload(b"%PDF-1.7")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"extraction_id": "extraction-9"}, NotFound, "there is no extraction 'extraction-9'"),
        ({"mammogram": "0" * 64}, NotFound, "there is no mammogram '0000"),
        ({"layer": "layer9"}, InvalidInput, "has no layer 'layer9'; it has layer3, layer4"),
        ({"class_name": "maybe"}, InvalidInput, "has no class 'maybe'; it has no, yes"),
        ({"row": 3.0}, InvalidInput, "row and column name a place together"),
        ({"named": [1, 9999]}, InvalidInput, "the layer has no unit 9999; it has "),
    ],
)
def test_what_cannot_be_explained_is_refused_at_once(
    explained: Explained, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    """The caller learns it from the answer, and nothing is recorded."""
    request = explained.request(**settings)
    with pytest.raises(error, match=message):
        explained.explanations.start(request)
    assert explained.explanations.all().total == 0 and explained.sent() == []


def test_only_a_completed_extraction_explains(explained: Explained) -> None:
    """The message states the state of the extraction."""
    with explained.ports.records.transaction() as session:
        row = session.get_one(ExtractionRow, "extraction-1")
        row.state, row.manifest = "running", None
    with pytest.raises(Conflict, match="extraction-1 is running; only a completed one can explain"):
        explained.begin()


def test_a_repeated_call_starts_nothing(explained: Explained) -> None:
    """The key finds the explanation that the first call started, and refuses another request."""
    request, key = explained.request(), CallKey("lab", "once")
    first = explained.explanations.start(request, key)
    assert explained.explanations.start(request, key).explanation_id == first.explanation_id
    with pytest.raises(InvalidInput, match="was sent before with another request"):
        explained.explanations.start(explained.request(units=2), key)
    assert explained.explanations.all().total == 1


def test_a_paused_explanation_starts_again(explained: Explained) -> None:
    """While it is paused its command does nothing; it has no result until it is completed."""
    started = explained.begin()
    [command] = explained.sent()
    explained.explanations.act("pause", started.explanation_id)
    explained.explanations.explain(command)
    assert explained.runner.calls == []
    with pytest.raises(Conflict, match="is paused; only a completed one has a result"):
        explained.explanations.result(started.explanation_id)
    explained.explanations.act("resume", started.explanation_id)
    [command] = explained.sent()
    explained.explanations.explain(command)
    assert explained.explanations.get(started.explanation_id).state == "completed"


def test_a_failed_explanation_is_published(explained: Explained) -> None:
    """The error of the job is that of the task, and a replay of the parked command explains it after all."""
    started = explained.begin()
    [command] = explained.sent()
    answer = explained.runner.answers["explain_mammogram"]

    def fail(_spec: Any) -> Any:
        raise JobFailed("the mammogram shows no breast")

    explained.runner.answers["explain_mammogram"] = fail
    with pytest.raises(JobFailed):
        explained.explanations.explain(command)
    explained.explanations.command_parked(command, "the mammogram shows no breast")
    [event] = explained.sent()
    assert (event.explanation_id, event.error) == (started.explanation_id, "the mammogram shows no breast")
    assert explained.referenced("mammograms/") == set()
    explained.runner.answers["explain_mammogram"] = answer
    explained.explanations.command_replayed(command)
    [command] = explained.sent()
    explained.explanations.explain(command)
    assert explained.explanations.get(started.explanation_id).state == "completed"


def test_records_refer_to_all_objects_of_an_explanation(explained: Explained) -> None:
    """The mammogram, its pictures, the maps and the content; not to an upload that nothing explains."""
    view = explained.complete()
    other = explained.explanations.upload(file_bytes(mammogram()))
    folder = f"explanations/{view.explanation_id}/"
    names = {key.removeprefix(folder).split("-")[0] for key in explained.referenced("explanations/")}
    assert names == {"explanation", "mammogram", "preview", "maps"}
    assert explained.referenced("mammograms/") == {view.mammogram.key}
    assert other.sha256 not in view.mammogram.key
