"""Questionnaires and vocabularies are data; answers to them are checked question by question."""

from typing import Any

import pytest
from pydantic import ValidationError

from services.annotation import answer as four_questions
from services.annotation.answer import Answer, InvalidAnswer
from services.annotation.protocol.document import ProtocolDocument, canonical, protocol_sha256
from services.annotation.protocol.questionnaire import Questionnaire, find_questionnaire, shipped_questionnaires
from services.annotation.protocol.vocabulary import find_vocabulary, shipped_vocabularies
from services.common.errors import NotFound

STRUCTURED = find_questionnaire("structured", "1")
BIRADS = find_vocabulary("bi-rads", "5")
GOOD: dict[str, Any] = {
    "recognizable": "yes",
    "multiplicity": "multiple",
    "phenomena": ["margin-spiculated", "mass-irregular", "other: streaky"],
    "associated": "unsure",
    "confidence": "3",
    "description": "  a star\r\n",
}


def faults(typed: dict[str, Any]) -> dict[str, str]:
    """What is wrong with an answer to the structured form."""
    with pytest.raises(InvalidAnswer) as error:
        STRUCTURED.complete(typed, BIRADS)
    return error.value.faults


def test_shipped_vocabularies_have_unique_terms() -> None:
    """No identifier stands for two terms, and older terms lead to existing ones."""
    for vocabulary in shipped_vocabularies().values():
        ids = vocabulary.term_ids()
        assert len(ids) == len(set(ids)) and set(vocabulary.older_terms.values()) <= set(ids)


def test_a_complete_answer_is_put_in_order() -> None:
    """Terms come in the vocabulary's order with free text last, and text is trimmed."""
    answer = STRUCTURED.complete(GOOD, BIRADS)
    assert answer["phenomena"] == ["mass-irregular", "margin-spiculated", "other:streaky"]
    assert answer["description"] == "a star"


def test_questions_that_do_not_apply_are_left_out() -> None:
    """If nothing is recognized, only the questions without a condition remain."""
    answer = STRUCTURED.complete(GOOD | {"recognizable": "no"}, BIRADS)
    assert answer == {"recognizable": "no", "confidence": "3", "description": "a star"}


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"recognizable": ""}, "recognizable", "choose one"),
        ({"recognizable": "maybe"}, "recognizable", "choose one"),
        ({"confidence": None}, "confidence", "choose one"),
        ({"phenomena": []}, "phenomena", "choose a term"),
        ({"phenomena": "mass-oval"}, "phenomena", "list of terms"),
        ({"phenomena": ["mass-cubic"]}, "phenomena", "no term 'mass-cubic'"),
        ({"phenomena": ["other:   "]}, "phenomena", "choose a term"),
        ({"phenomena": [f"other:{n}" for n in range(21)]}, "phenomena", "at most 20 terms"),
        ({"description": "x" * 4001}, "description", "at most 4000 characters"),
        ({"description": ["x"]}, "description", "is a text"),
        ({"mood": "good"}, "mood", "does not exist"),
    ],
)
def test_each_fault_names_its_question(changes: dict[str, Any], name: str, words: str) -> None:
    """One wrong answer gives one fault, which says what to do."""
    found = faults(GOOD | changes)
    assert list(found) == [name] and words in found[name]


def test_the_four_questions_are_those_of_the_open_lists() -> None:
    """The questionnaire has the words of the survey, and accepts and refuses the same answers."""
    form = find_questionnaire("four-questions", "1")
    assert {question.id: question.text for question in form.questions} == four_questions.QUESTIONS
    typed = {"recognizable": "yes", "associated": "unsure", "multiplicity": "single", "description": " spiculated "}
    assert form.complete(typed, None) == vars(four_questions.complete(Answer(**typed)))
    with pytest.raises(InvalidAnswer) as of_form:
        form.complete({"recognizable": "unsure"}, None)
    with pytest.raises(InvalidAnswer) as of_survey:
        four_questions.complete(Answer("unsure"))
    assert of_form.value.faults == of_survey.value.faults


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ({"id": "q", "kind": "choice", "text": "?"}, "is of kind choice and has 0 choices"),
        (
            {"id": "q", "kind": "text", "text": "?", "choices": [{"id": "a", "title": "A"}]},
            "kind text and has 1 choices",
        ),
        (
            {"id": "q", "kind": "text", "text": "?", "only_if": {"question": "later", "among": ["a"]}},
            "does not precede",
        ),
        ({"id": "q", "kind": "text", "text": "?", "only_if": {"question": "first", "among": ["z"]}}, "has no choice z"),
        ({"id": "first", "kind": "text", "text": "?"}, "two questions are called first"),
        ({"id": "q", "kind": "text", "text": "?", "colour": "red"}, "Extra inputs"),
    ],
)
def test_an_own_questionnaire_is_checked(question: dict[str, Any], words: str) -> None:
    """A questionnaire that cannot be answered is refused when it is read."""
    first = {"id": "first", "kind": "choice", "text": "?", "choices": [{"id": "a", "title": "A"}]}
    with pytest.raises(ValidationError, match=words):
        Questionnaire.model_validate({"name": "own", "version": "1", "title": "Own", "questions": [first, question]})


def test_the_hash_covers_the_words_of_questions_and_terms() -> None:
    """A protocol that names a questionnaire has the hash of the one that contains it; other words are another hash."""
    named = ProtocolDocument(title="A", seed=1)
    assert protocol_sha256(named) == protocol_sha256(named.resolved())
    assert protocol_sha256(ProtocolDocument.model_validate_json(canonical(named))) == protocol_sha256(named)
    form = STRUCTURED.model_dump()
    form["questions"][0]["text"] = "Anything?"
    changed = ProtocolDocument(title="A", seed=1, questionnaire=Questionnaire.model_validate(form))
    assert protocol_sha256(changed) != protocol_sha256(named)


def test_unknown_versions_are_named_with_the_known_ones() -> None:
    """The error lists what is shipped."""
    with pytest.raises(NotFound, match="no vocabulary 'bi-rads' '6'; there are bi-rads 5"):
        find_vocabulary("bi-rads", "6")
    with pytest.raises(NotFound, match="there are four-questions 1, structured 1"):
        find_questionnaire("nine", "1")
    assert set(shipped_questionnaires()) == {("four-questions", "1"), ("structured", "1")}


def test_terms_need_a_vocabulary() -> None:
    """A protocol whose questionnaire has a question about terms names a vocabulary."""
    with pytest.raises(ValidationError, match="needs a vocabulary"):
        ProtocolDocument(title="A", vocabulary=None)
