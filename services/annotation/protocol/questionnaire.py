"""Questionnaires: the questions of a reader study as data, and the rules for a complete answer to them."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from services.annotation.answer import LONGEST_DESCRIPTION, InvalidAnswer, clean_text
from services.annotation.protocol.vocabulary import FrozenModel, Identifier, Vocabulary
from services.common.errors import NotFound
from services.common.redaction import quoted

FOLDER = Path(__file__).parent / "questionnaires"
MOST_TERMS = 20
"""Terms that one answer may name."""
OTHER = "other"
"""The key under which an answer to a question about terms has free text."""

AnswerValue = str | list[str]
"""An identifier of a choice, text, or the terms that a reader chose (free text among them begins with `other:`)."""
FormAnswer = dict[str, AnswerValue]
"""An answer to a questionnaire, by question. A question that does not apply is absent."""


class Choice(FrozenModel):
    """A possible answer to a question."""

    id: Identifier
    title: str = Field(min_length=1, max_length=100)


class OnlyIf(FrozenModel):
    """A question applies only if an earlier question was answered with one of these choices."""

    question: Identifier
    among: tuple[Identifier, ...] = Field(min_length=1, max_length=20)


class Question(FrozenModel):
    """A question. `choice` takes one of the choices, `scale` one of the ordered choices, `terms` any number of terms of
    the vocabulary and free text, `text` free text."""

    id: Identifier
    kind: Literal["choice", "scale", "terms", "text"]
    text: str = Field(min_length=1, max_length=300)
    help: str = Field(default="", max_length=1000)
    required: bool = True
    choices: tuple[Choice, ...] = Field(default=(), max_length=20)
    only_if: OnlyIf | None = None

    @model_validator(mode="after")
    def _has_choices(self) -> Self:
        has_choices = self.kind in ("choice", "scale")
        if has_choices != bool(self.choices):
            raise ValueError(f"question {self.id} is of kind {self.kind} and has {len(self.choices)} choices")
        if len({choice.id for choice in self.choices}) != len(self.choices):
            raise ValueError(f"question {self.id} has two choices with one identifier")
        return self

    def applies(self, answer: Mapping[str, Any]) -> bool:
        """Whether the question applies, given the answers to the questions before it."""
        return self.only_if is None or answer.get(self.only_if.question) in self.only_if.among


class Questionnaire(FrozenModel):
    """A version of a questionnaire."""

    name: Identifier
    version: str = Field(pattern=r"^[0-9A-Za-z.]{1,16}$")
    title: str = Field(min_length=1, max_length=200)
    questions: tuple[Question, ...] = Field(min_length=1, max_length=50)

    @model_validator(mode="after")
    def _conditions_name_earlier_choices(self) -> Self:
        earlier: dict[str, Question] = {}
        for question in self.questions:
            if question.id in earlier:
                raise ValueError(f"two questions are called {question.id}")
            condition = question.only_if
            if condition is not None:
                on = earlier.get(condition.question)
                if on is None:
                    raise ValueError(
                        f"question {question.id} depends on {condition.question}, which does not precede it"
                    )
                unknown = set(condition.among) - {choice.id for choice in on.choices}
                if unknown:
                    raise ValueError(f"question {on.id} has no choice {', '.join(sorted(unknown))}")
            earlier[question.id] = question
        return self

    @property
    def uses_terms(self) -> bool:
        """Whether a question needs a vocabulary."""
        return any(question.kind == "terms" for question in self.questions)

    def complete(self, typed: Mapping[str, Any], vocabulary: Vocabulary | None) -> FormAnswer:
        """The answer to save: text is trimmed, and answers to questions that do not apply are left out.

        InvalidAnswer names every question that is not answered well, and every unknown question.
        """
        answer: FormAnswer = {}
        faults = dict.fromkeys(typed.keys() - {one.id for one in self.questions}, "This question does not exist.")
        for question in self.questions:
            if not question.applies(answer):
                continue
            try:
                value: AnswerValue = _CHECKS[question.kind](question, typed.get(question.id), vocabulary)
            except ValueError as error:
                faults[question.id] = str(error)
                continue
            if value:
                answer[question.id] = value
            elif question.required:
                faults[question.id] = _MISSING[question.kind]
        if faults:
            raise InvalidAnswer(faults)
        return answer


_MISSING = {
    "choice": "Please choose one of the answers.",
    "scale": "Please choose one of the answers.",
    "terms": "Please choose a term, or describe what you see in your own words.",
    "text": "Please describe what you see, even if you are unsure.",
}


def _check_choice(question: Question, typed: Any, _: Vocabulary | None) -> str:
    if typed in (None, ""):
        return ""
    if typed not in {choice.id for choice in question.choices}:
        raise ValueError("Please choose one of the answers.")
    return str(typed)


def _check_text(_: Question, typed: Any, __: Vocabulary | None) -> str:
    if not isinstance(typed, str | None):
        raise ValueError("This answer is a text.")
    text = clean_text(typed or "")
    if len(text) > LONGEST_DESCRIPTION:
        raise ValueError(f"Please use at most {LONGEST_DESCRIPTION} characters; these are {len(text)}.")
    return text


def _check_terms(question: Question, typed: Any, vocabulary: Vocabulary | None) -> list[str]:
    if typed is None:
        return []
    if not isinstance(typed, list) or not all(isinstance(one, str) for one in typed):
        raise ValueError("This answer is a list of terms.")
    known = vocabulary.term_ids() if vocabulary is not None else []
    chosen = set(typed)
    others = [clean_text(term.partition(":")[2]) for term in typed if term.startswith(f"{OTHER}:")]
    unknown = [term for term in chosen - set(known) if not term.startswith(f"{OTHER}:")]
    if unknown:
        raise ValueError(f"The vocabulary has no term {quoted(sorted(unknown)[0])}.")
    terms = [term for term in known if term in chosen] + [f"{OTHER}:{text}" for text in dict.fromkeys(others) if text]
    if len(terms) > MOST_TERMS:
        raise ValueError(f"Please choose at most {MOST_TERMS} terms; these are {len(terms)}.")
    return [_check_text(question, term, None) for term in terms]


_CHECKS: dict[str, Callable[[Question, Any, Vocabulary | None], AnswerValue]] = {
    "choice": _check_choice,
    "scale": _check_choice,
    "terms": _check_terms,
    "text": _check_text,
}


@cache
def shipped_questionnaires() -> dict[tuple[str, str], Questionnaire]:
    """The questionnaires that this software ships, by name and version."""
    read = [Questionnaire.model_validate_json(path.read_text()) for path in sorted(FOLDER.glob("*.json"))]
    return {(one.name, one.version): one for one in read}


def find_questionnaire(name: str, version: str) -> Questionnaire:
    """A shipped questionnaire. NotFound lists those that exist."""
    found = shipped_questionnaires().get((name, version))
    if found is None:
        known = ", ".join(f"{name} {version}" for name, version in shipped_questionnaires())
        raise NotFound(f"there is no questionnaire {quoted(name)} {quoted(version)}; there are {known}")
    return found
