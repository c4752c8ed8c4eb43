"""Labels of units: the majority of the readers, conflicts, and what adjudicators settle on."""

from typing import Any

import pytest
from sqlalchemy import select

from services.annotation.answer import InvalidAnswer
from services.annotation.label_schemas import SettleLabelRequest, UnitLabelView
from services.annotation.protocol.questionnaire import FormAnswer, find_questionnaire
from services.annotation.tables import ItemRow, ReadingRow, UnitLabelRow
from services.annotation.unit_labels import majority
from services.annotation.workflow.labels import Labels
from services.common.errors import Conflict, Forbidden, NotFound
from services.common.paging import Window
from tests.fakes.annotation import Annotation
from tests.fakes.reading import FORM, NOTHING, ReaderStudy

READERS = ["Ana", "Ben", "Cleo"]
FORM_OF_TESTS = find_questionnaire("structured", "1")


@pytest.fixture
def study(annotation: Annotation) -> ReaderStudy:
    """A closed study: Ana and Ben agree, Cleo recognizes nothing, so each of her units is a conflict."""
    study = ReaderStudy(annotation, READERS, shams=2, repeats=1, patches=4)
    for name in READERS:
        for reading_id in study.ids(name):
            study.answer(name, reading_id, answers=NOTHING if name == "Cleo" else FORM)
    study.protocols.close(study.key)
    return study


def labels_of(study: ReaderStudy) -> Labels:
    """The use cases of labels."""
    return Labels(study.annotation.ports)


def all_labels(study: ReaderStudy) -> list[UnitLabelView]:
    """The labels of all units."""
    return labels_of(study).all(study.key, True, Window(limit=500)).labels


def given(recognizable: str, **more: Any) -> FormAnswer:
    """An answer to the structured form."""
    return {"recognizable": recognizable} | more


@pytest.mark.parametrize(
    ("answers", "label", "conflicts"),
    [
        (
            [given("yes", associated="yes"), given("yes", associated="no")],
            {"recognizable": "yes"},
            ["multiplicity", "associated"],
        ),
        ([given("yes"), given("no")], {}, ["recognizable"]),
        ([given("no"), given("no"), given("yes", associated="yes")], {"recognizable": "no"}, []),
        (
            [
                given("yes", multiplicity="single", associated="yes", phenomena=["mass-oval", "marker"]),
                given("yes", multiplicity="single", associated="yes", phenomena=["mass-oval"]),
                given("unsure", multiplicity="multiple", associated="no", phenomena=["nipple"]),
            ],
            {"recognizable": "yes", "multiplicity": "single", "associated": "yes", "phenomena": ["mass-oval"]},
            [],
        ),
    ],
)
def test_a_majority_is_more_than_half(answers: list[FormAnswer], label: FormAnswer, conflicts: list[str]) -> None:
    """Half is no majority; questions count where they apply to the majority's answers; terms need more than half of
    all readers of the unit."""
    assert majority(FORM_OF_TESTS, answers) == (label, conflicts)


def test_units_with_conflicts_come_first(study: ReaderStudy) -> None:
    """The units that Cleo shares with another reader have no majority; the others are settled. Shams and repeats have
    no label."""
    cleo = study.reader("Cleo").reader_id
    with study.annotation.ports.records.reading() as session:
        kinds = dict(session.execute(select(ItemRow.item, ItemRow.kind)).all())
        hers = {
            item
            for item in session.scalars(select(ReadingRow.item).where(ReadingRow.reader_id == cleo))
            if kinds[item] == "unit"
        }
    found = all_labels(study)
    assert {one.item for one in found} == {item for item, kind in kinds.items() if kind == "unit"}
    assert [bool(one.conflicts) for one in found] == sorted((one.item in hers for one in found), reverse=True)
    assert {one.item for one in found if one.conflicts} == hers
    page = labels_of(study).all(study.key, True, Window(offset=1, limit=2))
    assert [one.item for one in page.labels] == [one.item for one in found[1:3]]
    assert (page.conflicts, page.total, page.next_offset) == (len(hers), len(found), 3)


def test_an_adjudicator_settles_a_conflict_with_history(study: ReaderStudy) -> None:
    """Each settled version is kept; the newest counts; a change that is based on an older one is refused."""
    labels, judge = labels_of(study), study.annotation.readers.named("Dr. Judge")
    item = all_labels(study)[0].item
    label = labels.settle(study.key, item, judge, SettleLabelRequest(answers=FORM, reason=" clear "), True)
    assert (label.source, label.conflicts, label.label_version) == ("adjudicator", [], 1)
    assert label.answers == FORM
    with pytest.raises(Conflict, match="version 1 is saved"):
        labels.settle(study.key, item, judge, SettleLabelRequest(answers=NOTHING), True)
    labels.settle(study.key, item, judge, SettleLabelRequest(answers=NOTHING, base_version=1), True)
    case = labels.one(study.key, item, True)
    history = [(one.label_version, one.answers, one.reason) for one in case.history]
    assert history == [(1, FORM, "clear"), (2, NOTHING, "")]
    assert case.label.answers == NOTHING and case.history[0].adjudicator == "Dr. Judge"
    assert {one.reader for one in case.answers} <= {"R01", "R02", "R03"} and len(case.answers) == 2
    assert all(patch.class_name for patch in case.patches)
    assert item not in {one.item for one in all_labels(study) if one.conflicts}


def test_the_list_keeps_its_order_while_labels_are_settled(study: ReaderStudy) -> None:
    """An adjudicator who settles labels page by page meets every unit once. The next conflict is offered."""
    before = [one.item for one in all_labels(study)]
    judge = study.annotation.readers.named("Judge")
    labels_of(study).settle(study.key, before[0], judge, SettleLabelRequest(answers=FORM), True)
    assert [one.item for one in all_labels(study)] == before
    assert labels_of(study).one(study.key, before[0], True).next_conflict == before[1]


def test_a_unit_that_nobody_answered_has_no_label(annotation: Annotation) -> None:
    """Settling it is refused, and nothing is saved."""
    study = ReaderStudy(annotation, READERS, patches=4)
    study.answer("Ana", study.ids("Ana")[0])
    study.protocols.close(study.key)
    [answered] = all_labels(study)
    item = next(number for number in range(study.protocol.units) if number != answered.item)
    judge = study.annotation.readers.named("Judge")
    with pytest.raises(NotFound, match="nobody has answered"):
        labels_of(study).settle(study.key, item, judge, SettleLabelRequest(answers=FORM), True)
    with study.annotation.ports.records.reading() as session:
        assert session.scalars(select(UnitLabelRow)).all() == []


def test_incomplete_labels_and_unknown_units_are_refused(study: ReaderStudy) -> None:
    """The error names the question, or the number of the unit; a sham has no label."""
    labels, judge = labels_of(study), study.annotation.readers.named("Judge")
    item = all_labels(study)[0].item
    with pytest.raises(InvalidAnswer, match="confidence"):
        labels.settle(study.key, item, judge, SettleLabelRequest(answers={"recognizable": "no"}), True)
    for number in (study.protocol.units, 2**40):
        with pytest.raises(NotFound, match=f"no unit with the number {number}"):
            labels.settle(study.key, number, judge, SettleLabelRequest(answers=NOTHING), True)
    assert all_labels(study)[0].label_version == 0


def test_labels_are_for_adjudicators_and_after_closing(annotation: Annotation) -> None:
    """While a protocol is open, nobody sees the answers of others; and readers never see labels."""
    study = ReaderStudy(annotation, READERS)
    labels = labels_of(study)
    with pytest.raises(Forbidden, match="once the protocol is closed"):
        labels.all(study.key, True)
    study.protocols.close(study.key)
    for attempt in (
        lambda: labels.all(study.key, False),
        lambda: labels.one(study.key, 0, False),
        lambda: labels.picture(study.key, 0, 1, False),
        lambda: labels.mammogram(study.key, 0, 0, False),
        lambda: labels.settle(study.key, 0, study.reader("Ana"), SettleLabelRequest(answers=NOTHING), False),
    ):
        with pytest.raises(NotFound, match="only adjudicators"):
            attempt()


def test_the_pages_settle_a_conflict(study: ReaderStudy) -> None:
    """From the results to the list, to a conflict, and to its settled label; a form with faults is shown again."""
    browser = study.annotation.browser("Judge")
    path = f"/labels/{study.key[0]}/{study.key[1]}"
    assert path in browser.get(f"/reading/{study.key[0]}/{study.key[1]}/results").text
    page = browser.get(path).text
    item = all_labels(study)[0].item
    assert "conflict" in page and f"{path}/{item}" in page
    case = browser.get(f"{path}/{item}").text
    assert "R01" in case or "R02" in case
    csrf = case.split('name="csrf" value="')[1].split('"')[0]
    form = {"csrf": csrf, "base_version": "0", "answer.recognizable": "yes"}
    refused = browser.post(f"{path}/{item}", data=form)
    assert refused.status_code == 422 and 'id="fault-phenomena"' in refused.text
    answers = {"answer.multiplicity": "single", "answer.phenomena.terms": "mass-oval", "answer.associated": "no",
               "answer.confidence": "2", "reason": "Both mean the same."}  # fmt: skip
    settled = browser.post(f"{path}/{item}", data=form | answers)
    assert settled.status_code == 200 and "The label is settled, version 1" in settled.text
    assert "Both mean the same." in settled.text
    stale = browser.post(f"{path}/{item}", data=form | answers)
    assert stale.status_code == 409 and "version 1 is saved" in stale.text
    assert browser.get(f"{path}/{item}/pictures/1.jpg").status_code == 200
