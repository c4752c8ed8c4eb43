"""The description of a unit in words: what readers of predict-the-unit are given."""

from collections.abc import Iterable, Mapping, Sequence

from services.annotation.answer import clean_text
from services.annotation.protocol.questionnaire import OTHER, FormAnswer, Questionnaire
from services.annotation.protocol.vocabulary import Vocabulary


def description_of(
    form: Questionnaire, vocabulary: Vocabulary | None, label: FormAnswer, given: Sequence[FormAnswer]
) -> str:
    """The terms of a label and free text, one a line; empty if there is neither.

    The text is that of the label. A majority has no text: then it is that of the readers, whose answers are `given`.
    Choices (whether a unit is recognizable, or associated with cancer) are no description.
    """
    terms = [
        _title(term, vocabulary)
        for question in form.questions
        if question.kind == "terms"
        for term in _listed(label, question.id)
    ]
    return "\n".join(dict.fromkeys([*terms, *(_texts(form, [label]) or _texts(form, given))]))


def _texts(form: Questionnaire, answers: Iterable[FormAnswer]) -> list[str]:
    questions = [question.id for question in form.questions if question.kind == "text"]
    found = [clean_text(str(answer[question])) for answer in answers for question in questions if question in answer]
    return [text for text in found if text]


def _listed(answer: Mapping[str, str | list[str]], question: str) -> list[str]:
    value = answer.get(question, [])
    return value if isinstance(value, list) else []


def _title(term: str, vocabulary: Vocabulary | None) -> str:
    if term.startswith(f"{OTHER}:"):
        return term.partition(":")[2]
    return vocabulary.titles().get(term, term) if vocabulary is not None else term
