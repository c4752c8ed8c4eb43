"""The four questions, and what counts as an answer to them."""

import unicodedata
from dataclasses import dataclass, replace

from services.common.errors import Conflict, InvalidInput

LONGEST_DESCRIPTION = 4000

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
    """What a reader says of a unit, as typed or as saved."""

    recognizable: str = ""
    associated: str = ""
    multiplicity: str = ""
    description: str = ""


class InvalidAnswer(InvalidInput):
    """An answer that lacks something; `faults` says what, by question."""

    def __init__(self, faults: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {fault}" for name, fault in faults.items()))
        self.faults = faults


class StaleVersion(Conflict):
    """The answer was changed since the caller saw it; `saved` is what stands now, at `version`."""

    def __init__(self, unit: str, base_version: int, version: int, saved: Answer) -> None:
        super().__init__(
            f"your answer to {unit} was changed elsewhere: version {version} is saved, and this one began from "
            f"version {base_version}"
        )
        self.version, self.saved = version, saved


def complete(typed: Answer) -> Answer:
    """The answer to save: trimmed, and with "not applicable" where there is nothing to recognize.

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
    """Typed text in NFC with `\\n` line ends, without control characters and outer white space."""
    lines = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    return "".join(c for c in lines if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs")).strip()


def _description_fault(answer: Answer) -> str:
    if len(answer.description) > LONGEST_DESCRIPTION:
        return f"Please use at most {LONGEST_DESCRIPTION} characters; these are {len(answer.description)}."
    if not answer.description and answer.recognizable != "no":
        return "Please describe what you see, also where you are unsure."
    return ""
