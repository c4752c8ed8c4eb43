"""Protocols, reading lists, readings, results and labels of the Python client."""

import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from primitives_client import (
    Conflict,
    InvalidInput,
    NotFound,
    Protocol,
    Reading,
    ReadingList,
    StaleAnswer,
    Study,
    Unavailable,
    UnitLabel,
)
from primitives_client.models import annotation as models
from tests.fakes.http_services import Answer, HttpServices, problem
from tests.unit.client.test_studies import study

DOCUMENT = {"title": "Few", "units": {"choose": "ranked", "top": 2}, "seed": 7}
READERS = ["Ana", "Ben"]
ANSWERS = {"recognizable": "yes", "phenomena": ["mass", "other:a ring"]}
HOST = "http://host:8000/v1"
STALE = problem(409, "StaleAnswer", "your answer was changed elsewhere")


def ok(content: object) -> httpx.Response:
    """Return the answer of a service with this content."""
    return httpx.Response(200, json=content)


def protocol(state: str = "open", answered: int = 0) -> dict[str, Any]:
    """Return a protocol, as the annotation service answers."""
    reader = {"pseudonym": "R01", "name": "Ana", "readings": 4, "answered": answered, "skipped": 1, "active": ""}
    return {
        "study_id": "study-1", "version": 2, "sha256": "00", "title": "Few", "state": state, "units": 4, "shams": 0,
        "opened": "", "closed": "", "document": DOCUMENT, "readers": [reader],
    }  # fmt: skip


def reading_list(next_id: str | None = "reading-1") -> dict[str, Any]:
    """Return a reading list, as the annotation service answers."""
    questionnaire = {"name": "structured", "version": "1", "title": "Structured", "questions": []}
    return {
        "study_id": "study-1", "version": 2, "sha256": "00", "title": "Few", "instructions": "", "state": "open",
        "reveal": "never", "questionnaire": questionnaire, "vocabulary": None, "pseudonym": "R01", "readings": 4,
        "answered": 0, "skipped": 0, "next": next_id,
    }  # fmt: skip


def reading(version: int = 0, **changes: Any) -> dict[str, Any]:
    """Return a reading, as the annotation service answers."""
    answer = {"answers": ANSWERS, "misfits": [2]} if version else None
    return {
        "reading_id": "reading-1", "study_id": "study-1", "version": 2, "position": 1, "readings": 4,
        "state": "answered" if version else "shown", "patches": [], "mammograms": [], "answer": answer,
        "second_answer": None, "draft": None, "answer_version": version, "locked": False, "may_reveal": False,
        "revealed": False, "previous": None, "next": "reading-2",
    } | changes  # fmt: skip


def label(item: int = 0, version: int = 0, **changes: Any) -> dict[str, Any]:
    """Return the label of a unit, as the annotation service answers."""
    return {
        "item": item, "layer": "layer4", "unit": 3, "readers": 2, "answers": {"phenomena": ["mass", "margin"]},
        "source": "adjudicator" if version else "majority", "conflicts": [] if version else ["recognizable"],
        "label_version": version,
    } | changes  # fmt: skip


def statistic(name: str, value: float | None, reason: str = "") -> dict[str, Any]:
    """Return a statistic, as the annotation service answers."""
    low, high = (None, None) if value is None else (value - 0.25, value + 0.25)
    return {
        "statistic": name, "value": value, "low": low, "high": high, "units": 4, "readers": 2, "pairs": 4,
        "reason": reason,
    }  # fmt: skip


def results() -> dict[str, Any]:
    """Return results with a question about a choice and one about terms, as the annotation service answers."""
    share = {"successes": 1, "trials": 2, "value": 0.5, "low": 0.01, "high": 0.99, "reason": ""}
    statistics = [statistic("percent_agreement", 0.75), statistic("fleiss_kappa", None, "no pair")]
    choice = {"question": "recognizable", "results": statistics}
    repeats = {"percent": share, "kappa": statistic("cohen_kappa", 1.0)}
    term = {"question": "mass", "results": [statistic("percent_agreement", 0.5)], "chosen": 0.25}
    common = {"text": "", "shift": None}
    return {
        "study_id": "study-1", "version": 2, "sha256": "00", "title": "Few", "architecture": "resnet18",
        "state": "closed", "readings": 8, "answered": 8,
        "readers": [{
            "pseudonym": "R01", "readings": 4, "answered": 4, "active_s": 2.5, "first_action_s": None,
            "false_recognition": share, "repeats": {"recognizable": repeats},
        }],
        "questions": [
            {**common, "question": "recognizable", "kind": "choice", "titles": {"yes": "Yes"}, "agreement": choice},
            {**common, "question": "phenomena", "kind": "terms", "titles": {"mass": "Mass"},
             "agreement": {"question": "phenomena", "terms": [term], "summary": []}},
        ],
        "layers": [{
            "layer": "layer4", "units": 4, "recognizable": 3, "associated": 1, "unsettled": 1,
            "phenomena": [{"term": "mass", "title": "Mass", "units": 2}, {"term": "x", "title": "X", "units": 0}],
        }],
    }  # fmt: skip


def read_study(*answers: Answer) -> tuple[Study, HttpServices]:
    """Read a study; these are the answers to the calls after that."""
    services = HttpServices(ok(study()), *answers)
    return services.client().studies.get("study-1"), services


def read_protocol(*answers: Answer) -> tuple[Protocol, HttpServices]:
    """Read the protocol of a study; these are the answers to the calls after that."""
    found, services = read_study(ok({"protocols": [protocol()]}), *answers)
    return found.protocols().first(), services


def read_list(*answers: Answer) -> tuple[ReadingList, HttpServices]:
    """Read Ana's reading list; these are the answers to the calls after that."""
    services = HttpServices(ok({"lists": [reading_list()]}), *answers)
    return services.client(reader="Ana").reading_lists().first(), services


def read_reading(first: dict[str, Any], *answers: Answer) -> tuple[Reading, HttpServices]:
    """Read Ana's next reading; these are the answers to the calls after that."""
    found, services = read_list(ok(reading_list()), ok(first), *answers)
    opened = found.next()
    assert opened is not None
    return opened, services


def read_label(*answers: Answer) -> tuple[UnitLabel, HttpServices]:
    """Read the label of a unit; these are the answers to the calls after that."""
    page = ok({"total": 1, "next_offset": None, "conflicts": 1, "labels": [label()]})
    found, services = read_protocol(page, *answers)
    return found.labels().first(), services


@pytest.mark.parametrize("kind", ["dictionary", "path", "text", "model"])
def test_a_document_is_a_dictionary_a_file_or_a_model(kind: str, tmp_path: Path) -> None:
    """The service receives what the document says, and nothing else: the other fields have the service's defaults."""
    path = tmp_path / "protocol.json"
    path.write_text(json.dumps(DOCUMENT))
    documents: dict[str, Any] = {
        "dictionary": DOCUMENT, "path": path, "text": str(path), "model": models.ProtocolDocument(**DOCUMENT),
    }  # fmt: skip
    found, services = read_study(ok(protocol()))
    opened = found.open_protocol(documents[kind], READERS)
    assert (opened.version, opened.state, opened.document.seed) == (2, "open", 7)
    assert services.calls[1:] == [f"POST {HOST}/studies/study-1/protocols"]
    assert services.bodies() == [{"document": DOCUMENT, "readers": READERS}]


def test_a_document_that_cannot_be_used_is_not_sent(tmp_path: Path) -> None:
    """The error names the file, the missing title, or readers that are one name."""
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    found, services = read_study(ok(protocol()))
    for document, readers, fault in (
        (tmp_path / "absent.json", READERS, "absent.json"),
        (broken, READERS, "broken.json"),
        ({"top": 3}, READERS, "title"),
        (DOCUMENT, "Ana", "readers"),
    ):
        with pytest.raises(InvalidInput, match=fault):
            found.open_protocol(document, readers)  # type: ignore[arg-type]
    assert len(services.calls) == 1


def test_a_previewed_document_is_opened_as_it_is() -> None:
    """The preview has the document in full; its questionnaire stays a questionnaire, with all questions."""
    question = {"id": "q", "kind": "text", "text": "What?", "required": False}
    questionnaire = {"name": "own", "version": "1", "title": "Own", "questions": [question]}
    full = {**DOCUMENT, "questionnaire": questionnaire, "vocabulary": {"name": "bi-rads", "version": "5"}}
    counts = ("units", "shams", "repeats", "readers", "readings", "fewest_readings", "most_readings")
    shared = {"fewest_shared": 4, "most_shared": 4, "units_by_layer": {"layer4": 4}, "expected": []}
    preview = {"document": full, "sha256": "00", **dict.fromkeys(counts, 4), **shared}
    found, services = read_study(ok(preview), ok(protocol()))
    previewed = found.preview_protocol(DOCUMENT, READERS)
    assert isinstance(previewed.document.questionnaire, models.Questionnaire)
    assert (previewed.units_by_layer, previewed.fewest_shared) == ({"layer4": 4}, 4)
    found.open_protocol(previewed.document, READERS)
    assert [body["document"] for body in services.bodies()] == [DOCUMENT, full]


def test_a_protocol_is_not_opened_twice_after_a_lost_answer() -> None:
    """A second call would open another version, so the client leaves it to its caller."""
    found, services = read_study(httpx.ReadError("lost"), ok(protocol()))
    with pytest.raises(Unavailable):
        found.open_protocol(DOCUMENT, READERS)
    assert len(services.calls) == 2


def test_a_protocol_is_read_again_and_closed() -> None:
    """Both take the fields of the service's answer; the readers are a table."""
    found, services = read_protocol(ok(protocol(answered=3)), ok(protocol("closed", answered=4)))
    assert found.refresh().reader_table().columns == list(models.ReaderProgress.model_fields)
    assert [row["answered"] for row in found.reader_table()] == [3]
    assert found.close().state == "closed" and found.row()["answered"] == 4
    place = f"{HOST}/studies/study-1/protocols/2"
    assert services.calls[2:] == [f"GET {place}", f"POST {place}/close"]


def test_readings_come_one_after_the_other() -> None:
    """The next one is that of the list as it is now; None at the end."""
    found, services = read_list(ok(reading_list("reading-1")), ok(reading()), ok(reading_list(None)))
    assert (found.pseudonym, found.total) == ("R01", 4)
    opened = found.next()
    assert opened is not None and opened.reading_id == "reading-1"
    assert found.next() is None
    place = f"GET {HOST}/reading-lists/study-1/2"
    assert services.calls[1:] == [place, f"GET {HOST}/readings/reading-1", place]
    assert {one.headers["x-reader"] for one in services.requests} == {"Ana"}


def test_a_reading_of_the_list_is_opened() -> None:
    """All readings have a position and a state; those that are not opened are not shown."""
    places = [{"reading_id": f"reading-{at}", "position": at, "state": "waiting"} for at in (1, 2)]
    found, services = read_list(ok({"readings": places}), ok({"readings": places}), ok(reading()))
    assert [place.position for place in found.readings()] == [1, 2]
    assert len(services.calls) == 2
    assert found.readings().first().open().position == 1


def test_an_inactive_readers_reading_is_taken() -> None:
    """The list then has it. If none is free, NotFound."""
    found, services = read_list(ok({**reading_list(), "readings": 5}), problem(404, "NotFound", "no unit is free"))
    assert found.take().total == 5
    with pytest.raises(NotFound, match="free"):
        found.take()
    assert services.calls[1:] == [f"POST {HOST}/reading-lists/study-1/2/take"] * 2


def test_an_answer_names_the_version_that_it_replaces() -> None:
    """Misfits and terms are lists; the reading then has the saved answer and its version."""
    found, services = read_reading(reading(4), ok(reading(5)))
    assert found.answer({**ANSWERS, "phenomena": ("mass",)}, misfits={2}, key="k", active_s=2.5) is found
    assert found.saved is not None and (found.answer_version, found.saved.misfits) == (5, [2])
    assert found.row()["answer_phenomena"] == "mass, other:a ring"
    sent = {**ANSWERS, "phenomena": ["mass"]}
    expected = {"answers": sent, "misfits": [2], "base_version": 4, "idempotency_key": "k", "active_s": 2.5}
    assert services.bodies() == [expected]
    assert services.calls[-1] == f"PUT {HOST}/readings/reading-1/answer"


def test_an_answer_whose_reply_is_lost_is_sent_again_with_its_key() -> None:
    """So the service saves it once."""
    found, services = read_reading(reading(), httpx.ReadError("lost"), ok(reading(1)))
    assert found.answer(ANSWERS).answer_version == 1
    first, second = services.bodies()
    assert first == second and first["idempotency_key"] and first["base_version"] == 0


def test_a_stale_answer_has_both_answers() -> None:
    """The one that was not saved, and the one that is saved now. The reading stays as it was read."""
    found, _ = read_reading(reading(), STALE, ok(reading(1)))
    with pytest.raises(StaleAnswer, match=r"Not saved: \{'recognizable': 'no'\}.*Saved: .*ring") as refused:
        found.answer({"recognizable": "no"}, misfits=[1])
    assert (refused.value.yours.answers, refused.value.yours.misfits) == ({"recognizable": "no"}, [1])
    assert refused.value.saved is not None and refused.value.saved.answers == ANSWERS
    assert found.answer_version == 0


def test_a_stale_second_answer_has_the_second_one() -> None:
    """After the reveal, the first answer is locked, so the conflict is with the second one."""
    second = {"answers": {"recognizable": "unsure"}, "misfits": []}
    found, _ = read_reading(reading(1, revealed=True), STALE, ok(reading(2, revealed=True, second_answer=second)))
    with pytest.raises(StaleAnswer) as refused:
        found.answer({"recognizable": "no"})
    assert refused.value.saved is not None and refused.value.saved.answers == {"recognizable": "unsure"}


def test_other_conflicts_of_an_answer_are_not_stale() -> None:
    """A closed protocol, for example."""
    found, _ = read_reading(reading(), problem(409, "Conflict", "The study closed"))
    with pytest.raises(Conflict, match="closed") as refused:
        found.answer(ANSWERS)
    assert not isinstance(refused.value, StaleAnswer)


def test_a_draft_is_kept_and_is_no_answer() -> None:
    """The service answers without content. A draft from an old version is stale, as an answer is."""
    found, services = read_reading(reading(1), httpx.Response(204), STALE, ok(reading(2)))
    draft = found.save_draft({"recognizable": "unsure"}).draft
    assert draft is not None and draft.answers == {"recognizable": "unsure"}
    assert (found.answer_version, found.state) == (1, "answered")
    with pytest.raises(StaleAnswer):
        found.save_draft({"recognizable": "no"}, misfits=[3, 1])
    assert services.bodies() == [
        {"answers": {"recognizable": "unsure"}, "misfits": [], "base_version": 1},
        {"answers": {"recognizable": "no"}, "misfits": [1, 3], "base_version": 1},
    ]


def test_a_reading_is_skipped_and_revealed() -> None:
    """Both take the fields of the service's answer."""
    found, services = read_reading(reading(), ok(reading(state="skipped")), ok(reading(1, revealed=True, locked=True)))
    assert found.skip().state == "skipped"
    assert found.reveal().locked
    assert services.calls[-2:] == [f"POST {HOST}/readings/reading-1/{verb}" for verb in ("skip", "reveal")]


def picture(mode: str, side: int) -> httpx.Response:
    """Return a grey picture, as the annotation service answers."""
    buffer = io.BytesIO()
    Image.new(mode, (side, side)).save(buffer, "PNG")
    return httpx.Response(200, content=buffer.getvalue())


def test_the_pictures_of_a_reading_are_images() -> None:
    """Pictures and previews have 8 bits; sources have those of the data set. Addresses name numbers only."""
    box = {"row": 10, "column": 20, "height": 30, "width": 30}
    patches = [{"number": 1, "value": 2.0, "mammogram": 4} | box, {"number": 2, "value": 1.0, "mammogram": None} | box]
    answers = [picture("L", 32), picture("L", 32), picture("I;16", 48), picture("L", 64), picture("I;16", 30)]
    opened, services = read_reading(reading(patches=patches), *answers)
    assert [image.size for image in opened.pictures()] == [(32, 32), (32, 32)]
    assert opened.source(2).mode == "I;16"
    assert opened.mammogram(1).size == (64, 64)
    assert opened.mammogram(1, region=(10, 20, 30, 30)).mode == "I;16"
    place = f"GET {HOST}/readings/reading-1"
    assert services.calls[-5:] == [
        f"{place}/patches/1/picture",
        f"{place}/patches/2/picture",
        f"{place}/patches/2/source",
        f"{place}/mammograms/4/picture",
        f"{place}/mammograms/4/source?region=10-20-30-30",
    ]
    for number in (2, 3):
        with pytest.raises(InvalidInput, match=f"no patch {number} with a full mammogram"):
            opened.mammogram(number)


def test_the_fields_of_readings_and_lists_are_those_of_the_service() -> None:
    """Two fields of a list and one of a reading have names of their own, since methods have the service's names."""

    def names(kind: Any) -> set[str]:
        return {str(field.validation_alias or name) for name, field in kind.model_fields.items()}

    assert names(Reading) == set(models.ReadingView.model_fields)
    assert names(ReadingList) == set(models.ReadingListView.model_fields)


def test_results_are_tables() -> None:
    """Agreement has a row for each statistic, and for each statistic of each term, with its interval."""
    found, _ = read_protocol(ok(results()))
    read = found.results()
    assert list(read.agreement()) == [
        {"question": "recognizable", "term": None, **statistic("percent_agreement", 0.75)},
        {"question": "recognizable", "term": None, **statistic("fleiss_kappa", None, "no pair")},
        {"question": "phenomena", "term": "Mass", **statistic("percent_agreement", 0.5)},
    ]
    assert set(read.agreement().columns) >= {"statistic", "value", "low", "high", "reason"}
    assert list(read.agreement("phenomena").to_pandas().value) == [0.5]
    assert list(read.reader_table()) == [
        {
            "pseudonym": "R01", "readings": 4, "answered": 4, "active_s": 2.5, "first_action_s": None, "shams": 2,
            "false_recognition": 0.5, "false_recognition_low": 0.01, "false_recognition_high": 0.99,
            "repeats_recognizable": 0.5,
        }
    ]  # fmt: skip
    assert list(read.layer_table()) == [
        {
            "layer": "layer4", "units": 4, "recognizable": 3, "associated": 1, "unsettled": 1,
            "phenomena": "Mass (2)",
        }
    ]  # fmt: skip
    with pytest.raises(InvalidInput, match=r"'shape'.*recognizable, phenomena"):
        read.agreement("shape")


def test_results_are_shown_in_a_notebook_and_a_terminal() -> None:
    """A notebook shows the three tables, a terminal the counts."""
    found, _ = read_protocol(ok(results()))
    read = found.results()
    assert read._repr_html_().count("<table>") == 4
    assert "Mass (2)" in read._repr_html_()
    assert repr(read).startswith("Results(study_id='study-1', version=2") and "answered=8" in repr(read)
    assert "0.75" in repr(read.agreement())


def test_a_reader_reads_results_from_the_own_list() -> None:
    """The service refuses them before the protocol is closed."""
    found, services = read_list(ok(results()))
    assert found.results().state == "closed"
    assert services.calls[1:] == [f"GET {HOST}/reading-lists/study-1/2/results"]


def test_labels_are_read_page_by_page() -> None:
    """A label has a column for each answer; no page is read before it is needed."""

    def page(*items: int) -> httpx.Response:
        return ok({"total": 3, "next_offset": None, "conflicts": 3, "labels": [label(item) for item in items]})

    found, services = read_protocol(page(0, 1), page(2))
    labels = found.labels()
    assert len(services.calls) == 2
    table = labels.to_table()
    assert [row["item"] for row in table] == [0, 1, 2]
    assert (table[0]["conflicts"], table[0]["answer_phenomena"]) == ("recognizable", "mass, margin")
    assert [one.url.params["offset"] for one in services.requests[2:]] == ["0", "2"]


def test_a_label_is_settled_from_the_version_that_was_read() -> None:
    """The label then has the adjudicator's answers, and its next change names the new version."""
    found, services = read_label(ok(label(version=1, answers=ANSWERS)), ok(label(version=2)))
    assert found.settle(ANSWERS, "a ring") is found
    assert (found.source, found.label_version, found.conflicts, found.answers) == ("adjudicator", 1, [], ANSWERS)
    found.settle({"recognizable": "no"})
    assert services.bodies() == [
        {"answers": ANSWERS, "reason": "a ring", "base_version": 0},
        {"answers": {"recognizable": "no"}, "reason": "", "base_version": 1},
    ]
    assert services.calls[3:] == [f"PUT {HOST}/studies/study-1/protocols/2/labels/0"] * 2


def case(*versions: int, reason: str = "a ring") -> httpx.Response:
    """Return a unit with the history of its label, as the annotation service answers."""
    questionnaire = {"name": "own", "version": "1", "title": "Own", "questions": []}
    history = [
        {"label_version": version, "answers": ANSWERS, "reason": reason, "adjudicator": "Cleo", "saved": ""}
        for version in versions
    ]
    lists: dict[str, Any] = {"patches": [], "mammograms": [], "answers": []}
    rest = {"vocabulary": None, "next_conflict": None, "label": label(version=max(versions, default=0))}
    place = {"study_id": "study-1", "version": 2, "title": "Few", "questionnaire": questionnaire}
    return ok({**place, **rest, **lists, "history": history})


def test_a_label_that_was_changed_meanwhile_is_not_overwritten() -> None:
    """Another adjudicator has settled it for another reason, or has changed it twice."""
    changed = problem(409, "Conflict", "the label was changed meanwhile")
    for newer in (case(1, reason="a disc"), case(1, 2)):
        found, _ = read_label(changed, newer)
        with pytest.raises(Conflict, match="changed meanwhile"):
            found.settle(ANSWERS, "a ring")
        assert found.label_version == 0


def test_a_label_whose_reply_is_lost_is_settled_once() -> None:
    """The second call is refused, since the first one has changed the label; the history shows that change."""
    changed = problem(409, "Conflict", "the label was changed meanwhile")
    found, services = read_label(httpx.ReadError("lost"), changed, case(1))
    assert found.settle(ANSWERS, "a ring").label_version == 1
    assert [call.split()[0] for call in services.calls[3:]] == ["PUT", "PUT", "GET"]
    assert [change.adjudicator for change in found.details().history] == ["Cleo"]
