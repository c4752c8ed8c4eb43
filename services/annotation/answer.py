"""The four questions of the survey, and the rules for a complete answer."""

import unicodedata
from dataclasses import dataclass, replace
from itertools import groupby

from services.common.errors import Conflict, InvalidInput

LONGEST_DESCRIPTION = 4000
LONGEST_TYPED = 3 * LONGEST_DESCRIPTION
"""Characters of a description as it was typed, where a letter with two accents may have three."""

MOST_ACCENTS = 30
"""Accents on one letter of text that is normalized; no language needs more (Unicode's Stream-Safe Text Format)."""

RECOGNIZABLE = ("yes", "no", "unsure")
ASSOCIATED = ("yes", "no", "unsure", "not_applicable")
MULTIPLICITY = ("single", "multiple", "not_applicable")

QUESTIONS = {
    "recognizable": "Do these images show recognizable phenomena?",
    "associated": "If so, are they associated with breast cancer?",
    "multiplicity": "Is there a single unique phenomenon, or multiple?",
    "description": "Please describe each of the phenomena, and its association with breast cancer.",
}
CHOICES = {"recognizable": RECOGNIZABLE, "associated": ASSOCIATED, "multiplicity": MULTIPLICITY}
WORDS = {
    "yes": "Yes",
    "no": "No",
    "unsure": "Unsure",
    "not_applicable": "Not applicable",
    "single": "Single",
    "multiple": "Multiple",
}


@dataclass(frozen=True)
class Answer:
    """A reader's answer to the questions about a unit, as typed or as saved."""

    recognizable: str = ""
    associated: str = ""
    multiplicity: str = ""
    description: str = ""


class InvalidAnswer(InvalidInput):
    """An incomplete answer; `faults` has a message for each question that is not answered well."""

    def __init__(self, faults: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {fault}" for name, fault in faults.items()))
        self.faults = faults


class StaleVersion(Conflict):
    """The answer was changed since the caller read it. `saved` is the current answer, with its `version`."""

    def __init__(self, unit: str, base_version: int, version: int, saved: Answer) -> None:
        super().__init__(
            f"your answer to {unit} was changed elsewhere: version {version} is saved, and this change is based on "
            f"version {base_version}"
        )
        self.version, self.saved = version, saved


def complete(typed: Answer) -> Answer:
    """The answer to save. The description is trimmed; the second and third answers become "not applicable" if nothing
    is recognizable.

    InvalidAnswer names every question that still needs an answer.
    """
    answer = replace(typed, description=clean_text(typed.description))
    if answer.recognizable == "no":
        answer = replace(answer, associated="not_applicable", multiplicity="not_applicable")
    faults = {
        name: "Please choose one of the answers."
        for name, choices in CHOICES.items()
        if getattr(answer, name) not in choices
    }
    if fault := _description_fault(answer):
        faults["description"] = fault
    if faults:
        raise InvalidAnswer(faults)
    return answer


def clean_text(text: str) -> str:
    """Typed text in NFC with `\\n` line ends, without control characters and without space around it. Text that is too
    long in any form, or with too many accents on one letter, stays in its own: normalizing takes quadratic time for
    accents."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    if len(lines) <= LONGEST_TYPED and _most_accents(lines) <= MOST_ACCENTS:
        lines = unicodedata.normalize("NFC", lines)
    return "".join(c for c in lines if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs")).strip()


def _most_accents(text: str) -> int:
    """The largest number of accents (combining characters) in a row."""
    runs = groupby(text, key=lambda character: unicodedata.combining(character) != 0)
    return max((sum(1 for _ in run) for combining, run in runs if combining), default=0)


def _description_fault(answer: Answer) -> str:
    if len(answer.description) > LONGEST_DESCRIPTION:
        return f"Please use at most {LONGEST_DESCRIPTION} characters; these are {len(answer.description)}."
    if not answer.description and answer.recognizable != "no":
        return "Please describe what you see, even if you are unsure."
    return ""
