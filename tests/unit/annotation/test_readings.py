"""Reading under a protocol: answers, drafts, skips, reveals, take-overs, and what stays withheld."""

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from services.annotation import protocol_queries
from services.annotation.answer import InvalidAnswer
from services.annotation.protocol_schemas import AnswerReadingRequest, DraftReadingRequest
from services.annotation.tables import ProtocolReaderRow, ReadingLogRow, ReadingRow
from services.annotation.workflow.readings import StaleAnswer
from services.common.errors import Conflict, Forbidden, InvalidInput, NotFound
from tests.fakes.annotation import Annotation
from tests.fakes.reading import FORM, NOTHING, ReaderStudy
from tests.fakes.rendering import MAMMOGRAMS, PHENOMENA

READERS = ["Ana", "Ben", "Cleo"]


@pytest.fixture
def study(annotation: Annotation) -> ReaderStudy:
    return ReaderStudy(annotation, READERS, readers_per_unit=2, patches=4)


@pytest.fixture
def study_everywhere(annotation_everywhere: Annotation) -> ReaderStudy:
    """The study over both kinds of records, for tests that depend on their locks."""
    return ReaderStudy(annotation_everywhere, READERS, readers_per_unit=2, patches=4)


def log_of(study: ReaderStudy, reading_id: str) -> list[tuple[str, Any]]:
    """Kind and content of a reading's log entries."""
    with study.annotation.ports.records.reading() as session:
        query = select(ReadingLogRow).where(ReadingLogRow.reading_id == reading_id).order_by(ReadingLogRow.position)
        return [(row.kind, row.content) for row in session.scalars(query)]


def make_inactive(study: ReaderStudy, name: str) -> None:
    """Pretend that a reader did nothing for a month."""
    with study.annotation.ports.records.transaction() as session:
        member = session.get_one(ProtocolReaderRow, (*study.key, study.reader(name).reader_id))
        member.active -= timedelta(days=31)


def test_an_answer_is_saved_once_and_logged(study_everywhere: ReaderStudy) -> None:
    """A repeated call with the same key saves nothing; the answer is in the log, with the patches that do not fit."""
    study = study_everywhere
    reading_id = study.ids("Ana")[0]
    for _ in range(2):
        view = study.answer("Ana", reading_id, misfits=[3, 1, 3], idempotency_key="k")
    assert view.answer is not None and view.answer.answers == FORM and view.answer.misfits == [1, 3]
    assert view.answer_version == 1 and view.state == "answered"
    assert log_of(study, reading_id) == [("answer", {"answers": FORM, "misfits": [1, 3]})]


def test_a_reading_is_shown_before_it_is_answered(study: ReaderStudy) -> None:
    """The first call of a reader, or an answer without one, records the time; later calls do not change it."""
    ids = study.ids("Ana")
    study.readings.get(study.reader("Ana"), ids[0])
    with study.annotation.ports.records.reading() as session:
        first = session.get_one(ReadingRow, ids[0]).shown
    for reading_id in ids[:2]:
        study.answer("Ana", reading_id)
    with study.annotation.ports.records.reading() as session:
        rows = [session.get_one(ReadingRow, reading_id) for reading_id in ids[:2]]
    assert rows[0].shown == first
    assert all(row.shown is not None and row.submitted is not None and row.shown <= row.submitted for row in rows)


def test_a_change_needs_the_version_that_it_is_based_on(study: ReaderStudy) -> None:
    """An answer on an old version is refused with the saved one; on the current version it becomes the second."""
    reading_id = study.ids("Ana")[0]
    study.answer("Ana", reading_id)
    with pytest.raises(StaleAnswer, match="version 1 is saved") as error:
        study.answer("Ana", reading_id, answers=NOTHING)
    assert error.value.saved is not None and error.value.saved.answers == FORM
    assert study.answer("Ana", reading_id, answers=NOTHING, base_version=1).answer_version == 2


def test_incomplete_answers_and_wrong_patches_are_refused(study: ReaderStudy) -> None:
    """The error names the question or the patch, and nothing is saved."""
    reading_id = study.ids("Ana")[0]
    with pytest.raises(InvalidAnswer, match="confidence"):
        study.answer("Ana", reading_id, answers={"recognizable": "no"})
    with pytest.raises(InvalidInput, match="has no patch 5; it has 4"):
        study.answer("Ana", reading_id, misfits=[5])
    assert log_of(study, reading_id) == []


def test_readings_of_others_do_not_exist(study: ReaderStudy) -> None:
    """Every use case refuses the id of another reader's reading as one that was never given."""
    theirs = study.ids("Ben")[0]
    ana, calls = study.reader("Ana"), study.readings
    study.answer("Ben", theirs)
    draft, answer = DraftReadingRequest(), AnswerReadingRequest(answers=FORM)
    for attempt in (
        lambda: calls.get(ana, theirs),
        lambda: calls.answer(ana, theirs, answer),
        lambda: calls.save_draft(ana, theirs, draft),
        lambda: calls.skip(ana, theirs),
        lambda: calls.reveal(ana, theirs),
        lambda: calls.picture(ana, theirs, 1),
        lambda: calls.mammogram(ana, theirs, 0),
        lambda: calls.next(ana, theirs),
    ):
        with pytest.raises(NotFound, match="you have no reading"):
            attempt()
    with pytest.raises(NotFound, match="you have no reading list"):
        calls.list(study.reader("Zoe"), study.key)
    assert [kind for kind, _ in log_of(study, theirs)] == ["answer"]


def test_a_draft_never_replaces_a_newer_answer(study: ReaderStudy) -> None:
    """A draft before the answer is kept and shown; one that arrives after it is refused, and the answer stays."""
    reading_id, ana = study.ids("Ana")[0], study.reader("Ana")
    study.readings.save_draft(ana, reading_id, DraftReadingRequest(answers={"description": "I see"}))
    view = study.readings.get(ana, reading_id)
    assert view.draft is not None and view.draft.answers == {"description": "I see"} and view.answer is None
    study.answer("Ana", reading_id)
    with pytest.raises(StaleAnswer):
        study.readings.save_draft(ana, reading_id, DraftReadingRequest(answers={"description": "late"}))
    view = study.readings.get(ana, reading_id)
    assert view.draft is None and view.answer is not None
    assert [kind for kind, _ in log_of(study, reading_id)] == ["draft", "answer"]


def test_skipped_readings_come_at_the_end(study_everywhere: ReaderStudy) -> None:
    """The next reading is the first one to do; skipped ones come back when nothing else is left."""
    study = study_everywhere
    ids, ana = study.ids("Ana"), study.reader("Ana")
    assert study.readings.list(ana, study.key).next == ids[0]
    study.readings.skip(ana, ids[0])
    assert study.readings.next(ana, ids[0]) == ids[1]
    for reading_id in ids[1:]:
        study.answer("Ana", reading_id)
    progress = study.readings.list(ana, study.key)
    assert (progress.answered, progress.skipped, progress.next) == (len(ids) - 1, 1, ids[0])
    study.answer("Ana", ids[0])
    progress = study.readings.list(ana, study.key)
    assert (progress.answered, progress.skipped, progress.next) == (len(ids), 0, None)


def test_readers_use_the_same_words_at_once(study_everywhere: ReaderStudy) -> None:
    """All readers send the same terms, the same words of their own and the same idempotency key at one moment: each has
    an answer of their own."""
    study = study_everywhere
    answers = FORM | {"phenomena": ["margin-spiculated", "other:a star"], "description": "the same words"}
    readings = [(name, reading_id) for name in READERS for reading_id in study.ids(name)[:4]]
    with ThreadPoolExecutor(len(READERS)) as pool:
        saved = list(pool.map(lambda one: study.answer(*one, answers=answers, idempotency_key="same"), readings))
    assert [view.answer_version for view in saved] == [1] * len(readings)
    assert all(view.answer is not None and view.answer.answers == answers for view in saved)


def test_the_next_reading_is_that_of_a_plain_search(study_everywhere: ReaderStudy) -> None:
    """For any states of a list and any position, the next reading is the one that a search through the whole list
    finds: to do and later, else to do, else skipped."""
    study, states = study_everywhere, ("waiting", "shown", "skipped", "answered")
    reader, ids = study.reader("Ana"), study.ids("Ana")
    draw = random.Random(15)
    for _ in range(30):
        drawn = dict(zip(ids, draw.choices(states, weights=[1, 1, 2, draw.choice([1, 50])], k=len(ids)), strict=True))
        with study.annotation.ports.records.transaction() as session:
            for reading_id, state in drawn.items():
                session.execute(update(ReadingRow).where(ReadingRow.reading_id == reading_id).values(state=state))
            after = draw.randrange(len(ids) + 1)
            found = protocol_queries.next_reading(session, study.key, reader.reader_id, after)
        to_do = [one for one in ids if drawn[one] in ("waiting", "shown")]
        later = [one for one in to_do if ids.index(one) >= after]
        skipped = [one for one in ids if drawn[one] == "skipped"]
        assert found == next(iter([*later, *to_do, *skipped]), None)


def test_what_a_reader_sees_distinguishes_no_items(annotation: Annotation) -> None:
    """Neither a sham nor a repeat differs in its fields, and no view has a layer, a channel, a class or a name."""
    study = ReaderStudy(annotation, READERS, shams=3, repeats=2, patches=6)
    ana = study.reader("Ana")
    views = [study.readings.get(ana, reading_id) for reading_id in study.ids("Ana")]
    assert len({tuple(sorted(view.model_dump())) for view in views}) == 1
    assert {len(view.patches) for view in views} == {6}
    text = "".join(view.model_dump_json() for view in views)
    for secret in (*PHENOMENA, *(name for name, *_ in MAMMOGRAMS), "sham", "repeat", "block4", "unit"):
        assert secret not in text
    assert {(patch.label, patch.class_name) for view in views for patch in view.patches} == {(None, None)}


def test_labels_are_revealed_after_the_answer_is_locked(annotation: Annotation) -> None:
    """Before the answer nothing is revealed; after the reveal the first answer is locked and a second one is kept
    with it."""
    study = ReaderStudy(annotation, READERS, reveal="after_answer")
    reading_id, ana = study.ids("Ana")[0], study.reader("Ana")
    with pytest.raises(Conflict, match="once you have answered"):
        study.readings.reveal(ana, reading_id)
    assert study.answer("Ana", reading_id).may_reveal
    view = study.readings.reveal(ana, reading_id)
    assert view.revealed and view.locked and all(patch.class_name for patch in view.patches)
    view = study.answer("Ana", reading_id, answers=NOTHING, base_version=1)
    assert view.answer is not None and view.answer.answers == FORM
    assert view.second_answer is not None and view.second_answer.answers == NOTHING
    assert [kind for kind, _ in log_of(study, reading_id)] == ["answer", "revealed", "second_answer"]
    assert not study.readings.get(ana, study.ids("Ana")[1]).revealed


def test_a_unit_that_is_read_twice_is_revealed_after_both(annotation: Annotation) -> None:
    """The labels of the first reading would spoil the second one."""
    study = ReaderStudy(annotation, READERS, reveal="after_answer", repeats=1)
    ana = study.reader("Ana")
    with annotation.ports.records.reading() as session:
        again = session.scalars(
            select(ReadingRow).where(ReadingRow.reader_id == ana.reader_id, ReadingRow.is_repeat)
        ).one()
        first = session.scalars(
            select(ReadingRow).where(
                ReadingRow.reader_id == ana.reader_id, ReadingRow.item == again.item, ~ReadingRow.is_repeat
            )
        ).one()
    assert not study.answer("Ana", first.reading_id).may_reveal
    with pytest.raises(Conflict, match="every other reading of it"):
        study.readings.reveal(ana, first.reading_id)
    assert study.answer("Ana", again.reading_id).may_reveal
    assert study.readings.reveal(ana, first.reading_id).revealed


@pytest.mark.parametrize("rule", ["never", "after_list"])
def test_other_rules_of_the_reveal(annotation: Annotation, rule: str) -> None:
    """`after_list` waits for the last answer of the list; `never` refuses also then."""
    study = ReaderStudy(annotation, READERS, reveal=rule)
    ids, ana = study.ids("Ana"), study.reader("Ana")
    for reading_id in ids[:-1]:
        assert not study.answer("Ana", reading_id).may_reveal
    assert study.answer("Ana", ids[-1]).may_reveal == (rule == "after_list")
    if rule == "never":
        with pytest.raises(Conflict, match="reveals no labels"):
            study.readings.reveal(ana, ids[0])
    else:
        assert study.readings.reveal(ana, ids[0]).revealed


def test_a_closed_protocol_takes_nothing(study: ReaderStudy) -> None:
    """Answers, drafts, skips and reveals are refused; what was answered can still be read."""
    ids, ana = study.ids("Ana"), study.reader("Ana")
    study.answer("Ana", ids[0])
    study.protocols.close(study.key)
    for attempt in (
        lambda: study.answer("Ana", ids[1]),
        lambda: study.readings.save_draft(ana, ids[1], DraftReadingRequest()),
        lambda: study.readings.skip(ana, ids[1]),
        lambda: study.readings.reveal(ana, ids[0]),
        lambda: study.readings.take(ana, study.key),
    ):
        with pytest.raises(Conflict, match="close"):
            attempt()
    view = study.readings.get(ana, ids[0])
    assert view.locked and view.answer is not None
    assert study.readings.list(ana, study.key).next is None


def test_a_reading_of_an_inactive_reader_can_be_taken_over(study_everywhere: ReaderStudy) -> None:
    """It moves to the end of the other reader's list; a late answer of the first reader is kept in the log only."""
    study = study_everywhere
    ids = {name: study.ids(name) for name in READERS}
    ana = study.reader("Ana")
    with pytest.raises(NotFound, match="no unit of another reader is free"):
        study.readings.take(ana, study.key)
    make_inactive(study, "Ben")
    study.readings.take(ana, study.key)
    assert len(study.ids("Ana")) == len(ids["Ana"]) + 1
    [taken] = set(ids["Ben"]) - set(study.ids("Ben"))
    assert study.ids("Ana")[-1] == taken
    with pytest.raises(Conflict, match="has taken over this unit"):
        study.answer("Ben", taken)
    study.answer("Ana", taken, answers=NOTHING)
    assert [kind for kind, _ in log_of(study, taken)] == ["taken", "late", "answer"]
    assert log_of(study, taken)[1][1]["answers"] == FORM


def test_a_call_of_the_reader_renews_the_lease(study: ReaderStudy) -> None:
    """A reader who comes back keeps the readings that nobody has taken."""
    make_inactive(study, "Ben")
    study.readings.get(study.reader("Ben"), study.ids("Ben")[0])
    with pytest.raises(NotFound):
        study.readings.take(study.reader("Ana"), study.key)


def test_taking_over_at_once_never_exceeds_the_readers_of_a_unit(study_everywhere: ReaderStudy) -> None:
    """Two readers take everything of a third one at the same time: no reading is taken twice, and no unit has two
    readings of one reader."""
    study = study_everywhere
    make_inactive(study, "Ben")

    def take_all(name: str) -> int:
        taken = 0
        while True:
            try:
                study.readings.take(study.reader(name), study.key)
            except NotFound:
                return taken
            taken += 1

    before = len(study.ids("Ben"))
    with ThreadPoolExecutor(2) as pool:
        taken = list(pool.map(take_all, ["Ana", "Cleo"]))
    assert sum(taken) == before and study.ids("Ben") == []
    with study.annotation.ports.records.reading() as session:
        pairs = session.execute(select(ReadingRow.item, ReadingRow.reader_id)).all()
    assert len(pairs) == len(set(pairs)) == 2 * study.protocol.units


def test_lists_of_a_study_with_a_protocol_are_closed_to_readers(study: ReaderStudy) -> None:
    """They would show which items are units, and labels; those who may see units still use them."""
    annotation, ana = study.annotation, study.reader("Ana")
    for attempt in (
        lambda: annotation.units.get(ana, annotation.key()),
        lambda: annotation.units.picture(ana, annotation.key(), 1),
        lambda: annotation.units.source(ana, annotation.key(), 1),
        lambda: annotation.units.sheet(ana, annotation.key()),
        lambda: annotation.units.mammogram(ana, annotation.study_id, 0),
        lambda: annotation.units.region(ana, annotation.study_id, 0, None),
    ):
        with pytest.raises(Forbidden, match="read under a protocol"):
            attempt()
    with annotation.ports.records.transaction() as session:
        session.execute(update(ReadingRow).values(state="answered"))
    with pytest.raises(Forbidden):
        annotation.units.get(ana, annotation.key())


def test_pictures_are_those_of_the_items_units(study: ReaderStudy) -> None:
    """Each patch of a reading has a picture, and only mammograms that its patches were cut from are shown."""
    ana, reading_id = study.reader("Ana"), study.ids("Ana")[0]
    view = study.readings.get(ana, reading_id)
    for patch in view.patches:
        assert study.readings.picture(ana, reading_id, patch.number)[:2] == b"\xff\xd8"
    with pytest.raises(NotFound, match="no patch 5; it has 4"):
        study.readings.picture(ana, reading_id, 5)
    for mammogram in view.mammograms:
        assert study.readings.mammogram(ana, reading_id, mammogram.number)[:2] == b"\xff\xd8"
    with pytest.raises(NotFound, match="cut from a mammogram 999"):
        study.readings.mammogram(ana, reading_id, 999)
