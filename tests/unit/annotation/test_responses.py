"""Saving of answers."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from primitives.annotation.v1 import events_pb2
from sqlalchemy import select

from services.annotation.answer import Answer, InvalidAnswer, StaleVersion, complete
from services.annotation.tables import ResponseLogRow
from services.common.errors import InvalidInput, NotFound
from tests.fakes.annotation import SILENT, YES, Annotation


def log(annotation: Annotation) -> list[tuple[str, int, str]]:
    """Reader, version and description of every entry of the log."""
    with annotation.ports.records.reading() as session:
        rows = session.scalars(select(ResponseLogRow).order_by(ResponseLogRow.position)).all()
        return [(row.reader_id, row.version, row.description) for row in rows]


def test_an_answer_is_saved_with_its_log_and_its_event(annotation: Annotation) -> None:
    """A first answer has version 1, a change version 2. Both are logged and published, without name and text."""
    ana = annotation.readers.named("Ana")
    assert annotation.responses.put(ana, annotation.key(), YES, 0).version == 1
    changed = annotation.responses.put(ana, annotation.key(), replace(YES, description="Vessels."), 1)
    assert (changed.version, changed.description) == (2, "Vessels.")
    assert log(annotation) == [(ana.reader_id, 1, YES.description), (ana.reader_id, 2, "Vessels.")]
    events = annotation.sent()
    assert [type(event) for event in events] == [events_pb2.ResponseGiven] * 2
    assert (events[1].unit, events[1].reader_id, events[1].version) == (0, ana.reader_id, 2)
    assert "Ana" not in str(events)
    assert "Vessels" not in str(events)


def test_a_stale_version_is_refused_with_the_saved_answer(annotation: Annotation) -> None:
    """An answer that is based on an older version changes nothing; the error has the saved answer."""
    ana = annotation.readers.named("Ana")
    annotation.responses.put(ana, annotation.key(), YES, 0)
    with pytest.raises(StaleVersion, match="version 1") as stale:
        annotation.responses.put(ana, annotation.key(), replace(YES, description="Other."), 0)
    assert (stale.value.version, stale.value.saved) == (1, YES)
    assert len(log(annotation)) == 1


def test_a_double_submit_saves_once(annotation_everywhere: Annotation) -> None:
    """Concurrent calls with the same answer and idempotency key save it once."""
    annotation = annotation_everywhere
    ana = annotation.readers.named("Ana")
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(annotation.responses.put, ana, annotation.key(), YES, 0, "key-1") for _ in range(4)]
        assert {call.result().version for call in calls} == {1}
    assert len(log(annotation)) == 1


def test_a_changed_answer_with_an_old_key_is_not_lost(annotation: Annotation) -> None:
    """A changed text with an old idempotency key is a change, not a repetition."""
    ana = annotation.readers.named("Ana")
    annotation.responses.put(ana, annotation.key(), YES, 0, "key-1")
    with pytest.raises(StaleVersion):
        annotation.responses.put(ana, annotation.key(), replace(YES, description="More."), 0, "key-1")
    assert annotation.responses.put(ana, annotation.key(), replace(YES, description="More."), 1, "key-1").version == 2


def test_two_readers_at_once_keep_their_own(annotation_everywhere: Annotation) -> None:
    """Two readers save the same unit concurrently and often: each ends with their own last text and version."""
    annotation = annotation_everywhere
    readers = [annotation.readers.named(name) for name in ("Ana", "Ben")]

    def read(who: int) -> None:
        for version in range(8):
            answer = replace(YES, description=f"{readers[who].name} {version}")
            annotation.responses.put(readers[who], annotation.key(), answer, version)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(read, (0, 1)))
    for reader in readers:
        saved = annotation.responses.one(reader, annotation.key())
        assert saved is not None
        assert (saved.version, saved.description) == (8, f"{reader.name} 7")
    assert len(log(annotation)) == 16


def test_a_save_that_fails_leaves_nothing(annotation: Annotation, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the event cannot be written, neither the answer nor its log entry is saved."""
    ana = annotation.readers.named("Ana")

    def fail(*_: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(annotation.ports.outbox, "publish", fail)
    with pytest.raises(OSError, match="full"):
        annotation.responses.put(ana, annotation.key(), YES, 0)
    assert annotation.responses.one(ana, annotation.key()) is None
    assert log(annotation) == []


def test_silent_and_unknown_units_cannot_be_answered(annotation: Annotation) -> None:
    """An answer to a silent unit is InvalidInput, to an unknown unit NotFound."""
    ana = annotation.readers.named("Ana")
    with pytest.raises(InvalidInput, match="silent"):
        annotation.responses.put(ana, annotation.key(SILENT), YES, 0)
    for key in (annotation.key(99), annotation.key(2**40), ("study-x", "block4", 0)):
        with pytest.raises(NotFound):
            annotation.responses.put(ana, key, YES, 0)


def test_an_answer_with_nothing_recognizable_is_complete() -> None:
    """If the first answer is no, the next two become not applicable and the description may be empty."""
    assert complete(Answer("no", "yes", "", " ")) == Answer("no", "not_applicable", "not_applicable", "")


def test_every_missing_answer_is_reported() -> None:
    """Every question without an answer has its own error; so does a text that is too long."""
    with pytest.raises(InvalidAnswer) as missing:
        complete(Answer())
    assert list(missing.value.faults) == ["recognizable", "associated", "multiplicity", "description"]
    with pytest.raises(InvalidAnswer, match="4000 characters; these are 4001"):
        complete(replace(YES, description="x" * 4001))
    assert len(complete(replace(YES, description="x" * 4000)).description) == 4000


@given(st.text(max_size=200))
def test_any_text_survives_or_is_refused(text: str) -> None:
    """A saved text has no control characters, and cleaning it again changes nothing."""
    try:
        saved = complete(replace(YES, description=text))
    except InvalidAnswer:
        return
    assert complete(saved) == saved
    assert "\0" not in saved.description
    assert "\r" not in saved.description


def test_the_summary_lists_readers_with_their_units(annotation: Annotation) -> None:
    """The summary has all readers, also those without answers, and no text of answers."""
    ana, _ = annotation.readers.named("Ana"), annotation.readers.named("Zoë")
    annotation.responses.put(ana, annotation.key(2), YES, 0)
    summary = annotation.responses.summary()
    assert [(reader.name, [place.unit for place in reader.answered]) for reader in summary.readers] == [
        ("Ana", [2]), ("Zoë", []),
    ]  # fmt: skip
    assert YES.description not in summary.model_dump_json()
    assert annotation.responses.summary(study_id="study-x").readers[0].answered == []


def test_many_accents_on_one_letter_take_no_time() -> None:
    """Normalizing them takes quadratic time, so they stay as they are typed; fewer are normalized."""
    many = "a" + "\u0345" * 2000 + "\u0344" * 1999
    began = process_time()
    assert complete(replace(YES, description=many)).description == many
    assert process_time() - began < 0.1
    assert complete(replace(YES, description="u\u0308")).description == "ü"
