"""The names of units: what readers recognised, and how many agree."""

from services.annotation.answer import Answer
from services.annotation.explanations.names import names_of_units
from services.annotation.explanations.schemas import UnitNameView
from services.annotation.label_schemas import SettleLabelRequest
from services.annotation.tables import StudyRow
from services.annotation.workflow.labels import Labels
from services.common.paging import Window
from tests.fakes.annotation import LAYER, Annotation
from tests.fakes.reading import FORM, NOTHING, ReaderStudy


def names(annotation: Annotation, layer: str = LAYER) -> dict[int, UnitNameView]:
    """The names of the units of a layer of the study's extraction."""
    with annotation.ports.records.reading() as session:
        extraction = session.get_one(StudyRow, annotation.study_id).extraction_id
        return names_of_units(session, extraction, layer)


def respond(annotation: Annotation, reader: str, unit: int, recognizable: str, description: str) -> None:
    """Answer a unit in the survey."""
    associated = "yes" if recognizable == "yes" else "not_applicable"
    answer = Answer(recognizable, associated, "single", description)
    annotation.responses.put(annotation.readers.named(reader), annotation.key(unit), answer, 0, f"{reader}-{unit}")


def test_a_unit_is_named_by_more_than_half_of_its_readers(annotation: Annotation) -> None:
    """Different words stand one after the other, the same words once. Half of the readers are not enough."""
    respond(annotation, "Ana", 0, "yes", "Spiculated  margins")
    respond(annotation, "Ben", 0, "yes", "spiculated margins")
    respond(annotation, "Cleo", 0, "yes", "Vessels")
    respond(annotation, "Dora", 0, "no", "Nothing")
    respond(annotation, "Ana", 1, "yes", "Vessels")
    respond(annotation, "Ben", 1, "no", "Nothing")
    found = names(annotation)
    assert list(found) == [0]
    name = found[0]
    assert (name.name, name.text, name.readers, name.agreeing) == ("unit_0001", "Spiculated margins; Vessels", 4, 3)
    assert (name.associated, name.source) == ("yes", "responses")
    assert names(annotation, "block1") == {}


def test_a_closed_protocol_counts_before_responses(annotation: Annotation) -> None:
    """The terms of its labels, in the words of the vocabulary; while it is open nobody sees them. A unit in which most
    readers recognise nothing has no name."""
    study = ReaderStudy(annotation, ["Ana", "Ben", "Cleo"], shams=0, repeats=0, patches=4, readers_per_unit=3)
    for name in ("Ana", "Ben", "Cleo"):
        for number, reading_id in enumerate(study.ids(name)):
            nothing = name == "Cleo" or (number == 0 and name == "Ben")
            study.answer(name, reading_id, answers=NOTHING if nothing else FORM)
    assert names(annotation) == {}
    study.protocols.close(study.key)
    labels = Labels(annotation.ports).all(study.key, True, Window(limit=500)).labels
    found = names(annotation)
    assert set(found) == {one.unit for one in labels if one.layer == LAYER and "phenomena" in one.answers}
    assert len(found) < sum(one.layer == LAYER for one in labels)
    name = next(iter(found.values()))
    assert (name.text, name.readers, name.agreeing, name.source) == ("spiculated margin", 3, 2, "majority")


def test_an_adjudicator_has_the_last_word(annotation: Annotation) -> None:
    """A settled label replaces the majority's; agreement still counts the readers who gave its terms."""
    study = ReaderStudy(annotation, ["Ana", "Ben"], shams=0, repeats=0, patches=4)
    for name, answers in (("Ana", FORM), ("Ben", FORM | {"phenomena": ["mass-oval"]})):
        for reading_id in study.ids(name):
            study.answer(name, reading_id, answers=answers)
    study.protocols.close(study.key)
    assert names(annotation) == {}
    labels = Labels(annotation.ports)
    unit = labels.all(study.key, allowed=True).labels[0]
    request = SettleLabelRequest(answers=FORM | {"phenomena": ["mass-oval"]})
    labels.settle(study.key, unit.item, annotation.readers.named("Eva"), request, allowed=True)
    [name] = names(annotation, unit.layer).values()
    assert (name.unit, name.text, name.agreeing, name.readers) == (unit.unit, "oval mass", 1, 2)
    assert name.source == "adjudicator"


def test_readers_own_words_name_a_unit_without_terms(annotation: Annotation) -> None:
    """The four questions have no terms, so the descriptions of those who recognise something are the name."""
    form = {"questionnaire": {"name": "four-questions", "version": "1"}, "vocabulary": None}
    study = ReaderStudy(annotation, ["Ana", "Ben"], shams=0, repeats=0, patches=4, **form)
    yes = {"recognizable": "yes", "associated": "yes", "multiplicity": "single"}
    for name, text in (("Ana", "Dense tissue"), ("Ben", "A vein")):
        for reading_id in study.ids(name):
            study.answer(name, reading_id, answers=yes | {"description": text})
    study.protocols.close(study.key)
    name = next(iter(names(annotation).values()))
    assert sorted(name.text.split("; ")) == ["A vein", "Dense tissue"]
    assert (name.agreeing, name.readers, name.associated) == (2, 2, "yes")
