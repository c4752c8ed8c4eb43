"""Results of a protocol: what they contain, that they equal a slow computation, and who may see them."""

from itertools import combinations
from typing import Any

import pytest
from sqlalchemy import select

from services.annotation.label_schemas import SettleLabelRequest
from services.annotation.protocol_schemas import AnswerReadingRequest
from services.annotation.roles import Role
from services.annotation.tables import ItemRow, ReadingRow
from services.annotation.workflow.labels import Labels
from services.annotation.workflow.readers import Reader
from services.annotation.workflow.results import Results
from services.common.errors import Forbidden, NotFound
from tests.fakes.annotation import Annotation
from tests.fakes.reading import FORM, NOTHING, ReaderStudy

READERS = ["Ana", "Ben", "Cleo"]
OWNER = Reader("", "Olga", role=Role.RESEARCHER)


@pytest.fixture
def study(annotation: Annotation) -> ReaderStudy:
    """A study in which Ana and Ben agree on everything and Cleo recognizes nothing, not even in shams."""
    study = ReaderStudy(annotation, READERS, shams=4, repeats=2, patches=4, reveal="after_answer")
    for name in READERS:
        for at, reading_id in enumerate(study.ids(name)):
            answers = NOTHING if name == "Cleo" else FORM
            study.answer(name, reading_id, answers=answers, active_s=10.0 + at, first_action_s=1.0)
    return study


def results(study: ReaderStudy) -> Results:
    """The use cases of results."""
    return Results(study.annotation.ports)


def view(study: ReaderStudy) -> Any:
    """The results as the owner sees them."""
    return results(study).of(study.key, OWNER, manages=True)


def test_agreement_is_that_of_all_pairs_of_readings(study: ReaderStudy) -> None:
    """Percent agreement equals a count of pairs in the database, without shams and repeats."""
    names = {study.reader(name).reader_id: name for name in READERS}
    with study.annotation.ports.records.reading() as session:
        of_item = (ItemRow.version == ReadingRow.version) & (ItemRow.item == ReadingRow.item)
        rows = session.execute(
            select(ReadingRow.item, ReadingRow.reader_id)
            .join(ItemRow, of_item)
            .where(ItemRow.kind == "unit", ~ReadingRow.is_repeat)
        ).all()
    readers: dict[int, list[str]] = {}
    for item, reader_id in rows:
        readers.setdefault(item, []).append(names[reader_id])
    pairs = [pair for of_unit in readers.values() for pair in combinations(of_unit, 2)]
    expected = sum("Cleo" not in pair for pair in pairs) / len(pairs)
    question = next(one for one in view(study).questions if one.question == "recognizable")
    [percent] = [one for one in question.agreement.results if one.statistic == "percent_agreement"]
    assert percent.value == pytest.approx(expected) and percent.pairs == len(pairs)
    assert {one.statistic for one in question.agreement.results} >= {"fleiss_kappa", "krippendorff_alpha", "gwet_ac1"}


def test_controls_are_those_of_each_reader(study: ReaderStudy) -> None:
    """Ana and Ben recognize all four shams, Cleo none; all repeat their own answers."""
    found = {one.pseudonym: one for one in view(study).readers}
    assert {name: one.false_recognition.successes for name, one in found.items()} == {"R01": 4, "R02": 4, "R03": 0}
    assert {one.false_recognition.trials for one in found.values()} == {4}
    for one in found.values():
        assert one.repeats["recognizable"].percent.trials == 2
        assert one.repeats["recognizable"].percent.value == 1.0
        assert one.first_action_s == 1.0 and one.active_s is not None and one.active_s > 10
        assert one.answered == one.readings


def test_the_summary_counts_settled_labels(study: ReaderStudy) -> None:
    """A conflict that an adjudicator settles counts as the label says, so that summary and labels never differ."""
    labels = Labels(study.annotation.ports)
    study.protocols.close(study.key)
    before = view(study)
    label = next(one for one in labels.all(study.key, True).labels if one.conflicts)
    judge = study.annotation.readers.named("Judge")
    labels.settle(study.key, label.item, judge, SettleLabelRequest(answers=FORM), True)
    old, new = (next(one for one in found.layers if one.layer == label.layer) for found in (before, view(study)))
    assert (new.recognizable, new.unsettled) == (old.recognizable + 1, old.unsettled - 1)
    assert new.phenomena[0].units == old.phenomena[0].units + 1


def test_terms_and_layers_count_what_most_readers_say(study: ReaderStudy) -> None:
    """A unit of Ana and Ben is recognizable and has their term; one of Ben and Cleo is unsettled."""
    found = view(study)
    with study.annotation.ports.records.reading() as session:
        layers = dict(session.execute(select(ItemRow.item, ItemRow.layer).where(ItemRow.kind == "unit")).all())
        rows = session.execute(select(ReadingRow.item, ReadingRow.reader_id).where(~ReadingRow.is_repeat)).all()
    cleo = study.reader("Cleo").reader_id
    by_cleo = {item for item, reader_id in rows if reader_id == cleo}
    for layer in found.layers:
        items = {item for item, name in layers.items() if name == layer.layer}
        assert layer.units == len(items)
        assert layer.unsettled == len(items & by_cleo)
        assert layer.recognizable == layer.associated == len(items - by_cleo)
        assert [(one.term, one.units) for one in layer.phenomena] == [("margin-spiculated", len(items - by_cleo))]
    [terms] = [one for one in found.questions if one.kind == "terms"]
    chosen = {one.question: one.chosen for one in terms.agreement.terms}
    assert 0 < chosen["margin-spiculated"] < 1 and chosen["mass-oval"] == 0


def test_a_changed_answer_after_the_reveal_is_a_shift(study: ReaderStudy) -> None:
    """The table of the shift has the first answers in rows and the second ones in columns."""
    ana = study.reader("Ana")
    with study.annotation.ports.records.reading() as session:
        query = select(ReadingRow.reading_id).join(
            ItemRow, (ItemRow.version == ReadingRow.version) & (ItemRow.item == ReadingRow.item)
        )
        [reading_id, *_] = session.scalars(
            query.where(ReadingRow.reader_id == ana.reader_id, ItemRow.kind == "unit", ~ReadingRow.is_repeat)
        )
    study.readings.reveal(ana, reading_id)
    study.readings.answer(ana, reading_id, AnswerReadingRequest(answers=NOTHING, base_version=1))
    question = next(one for one in view(study).questions if one.question == "recognizable")
    assert question.shift.choices == ["yes", "no", "unsure"]
    assert question.shift.table == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert question.shift.changed.successes == 1


def test_results_are_reproducible(study: ReaderStudy) -> None:
    """The seed of the protocol determines the intervals."""
    assert view(study) == view(study)


def test_results_are_hidden_from_readers_until_the_study_closes(study: ReaderStudy) -> None:
    """An owner sees them at any time, a reader after closing; an owner who reads under the protocol counts as a reader;
    and to others the protocol does not exist."""
    ana, ben = study.reader("Ana"), study.reader("Ben")
    reading_owner = Reader(ben.reader_id, ben.name, sees_units=True, role=Role.ADMINISTRATOR)
    for reader, manages in ((ana, False), (reading_owner, True)):
        with pytest.raises(Forbidden, match="hidden from everybody who reads"):
            results(study).of(study.key, reader, manages)
    with pytest.raises(NotFound):
        results(study).of(study.key, study.reader("Zoe"), manages=False)
    study.protocols.close(study.key)
    assert results(study).of(study.key, ana, manages=False).state == "closed"
    assert results(study).of(study.key, reading_owner, manages=True).answered > 0
    with pytest.raises(NotFound):
        results(study).of(study.key, study.reader("Zoe"), manages=False)


def test_results_name_no_reader(study: ReaderStudy) -> None:
    """Readers are pseudonyms to each other, also after closing."""
    text = view(study).model_dump_json()
    assert [name for name in READERS if name in text] == []


def test_an_empty_protocol_has_results(annotation: Annotation) -> None:
    """Before the first answer nothing is defined, and every reason is given."""
    study = ReaderStudy(annotation, READERS, shams=1, repeats=1)
    found = view(study)
    assert found.answered == 0
    for question in found.questions:
        if question.kind != "terms":
            assert all(one.value is None and one.reason for one in question.agreement.results)


def test_the_page_of_results(study: ReaderStudy) -> None:
    """The page shows all parts, after closing also to a reader; before, a reader gets an error page."""
    ana = study.annotation.browser("Ana")
    path = f"/reading/{study.key[0]}/{study.key[1]}/results"
    assert ana.get(path).status_code == 403
    study.protocols.close(study.key)
    page = ana.get(path)
    assert page.status_code == 200
    for words in ("AC1", "False recognition on shams", "spiculated margin", "R03"):
        assert words in page.text
