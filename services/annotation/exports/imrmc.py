"""Readings in the list form of iMRMC (https://github.com/DIDSR/iMRMC), the FDA's analysis of reader studies.

The form has four columns, readerID, caseID, modalityID and score, and a row of the reader `-1` and the modality `truth`
for each case, whose score is 0 or 1 (user manual, 4.1.1 "Study Raw Data"; R documentation of `dfMRMC_example` and
`undoIMRMCdf`). Here a case is a unit, the modality is the study, and the score is the number of the chosen answer.
Cells are ids and numbers, so formulas are not escaped: the reader `-1` would be.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from services.annotation.exports.columns import csv_lines
from services.annotation.protocol.questionnaire import Questionnaire
from services.annotation.reading_table import Reading
from services.common.errors import InvalidInput
from services.common.redaction import quoted
from services.imaging.units import unit_name

NAMES = ("readerID", "caseID", "modalityID", "score")
BEGIN = ("BEGIN DATA:",)
"""The line before the data in files of the iMRMC application; R reads a line of names."""
TRUTH = ("-1", "truth")
"""Reader and modality of the rows of truth."""

Header = Literal["names", "begin_data"]
Unit = tuple[str, int]
"""Layer and channel."""


class Scoring(NamedTuple):
    """The question whose answers are scores, and the score of each of its choices."""

    question: str
    scores: Mapping[str, int]


def scoring_of(questionnaire: Questionnaire, question_id: str, order: Sequence[str]) -> Scoring:
    """Number the choices of a question from 1: in the given order, or for a scale in its own.

    InvalidInput if the question has no choices, if its choices have no order, or if the order names another choice.
    """
    found = next((one for one in questionnaire.questions if one.id == question_id), None)
    if found is None or not found.choices:
        known = ", ".join(one.id for one in questionnaire.questions if one.choices)
        raise InvalidInput(f"{quoted(question_id)} is not a question with choices; there are {known}")
    choices = [choice.id for choice in found.choices]
    if not order and found.kind != "scale":
        raise InvalidInput(
            f"the choices of {quoted(question_id)} have no order; name them from the lowest score to the highest, such "
            f"as order={','.join(choices)}. Answers that are not named are left out"
        )
    if unknown := [name for name in order if name not in choices]:
        raise InvalidInput(f"question {quoted(question_id)} has no choice {quoted(unknown[0])}; it has {choices}")
    if len(set(order)) != len(order):
        raise InvalidInput("the order names a choice twice")
    return Scoring(question_id, {name: score for score, name in enumerate(order or choices, 1)})


def imrmc_chunks(
    study_id: str, readings: Iterable[Reading], scoring: Scoring, truth: Mapping[Unit, bool] | None, header: Header
) -> Iterator[bytes]:
    """Write the scores, and then the truth of each unit that has one; without it if `truth` is None. Shams, repeats and
    readings without a score are left out, since a reader has one score for a case."""
    return csv_lines(NAMES if header == "names" else BEGIN, _lines(study_id, readings, scoring, truth))


def _lines(
    study_id: str, readings: Iterable[Reading], scoring: Scoring, truth: Mapping[Unit, bool] | None
) -> Iterator[tuple[object, ...]]:
    scored: dict[tuple[Unit, int | None], None] = {}
    for one in readings:
        answer = (one.answer or {}).get(scoring.question)
        score = scoring.scores.get(answer) if isinstance(answer, str) else None
        if one.unit is not None and not one.is_repeat and score is not None:
            scored[(one.layer, one.unit), one.part] = None
            yield one.reader, _case((one.layer, one.unit), one.part), study_id, score
    if truth is not None:
        reader, modality = TRUTH
        for unit, part in scored:
            yield reader, _case(unit, part), modality, int(truth[unit])


def _case(unit: Unit, part: int | None) -> str:
    """The name of a case: a unit, or a part of a unit that is read in two."""
    layer, channel = unit
    return f"{layer}/{unit_name(channel)}" + (f"/part_{part}" if part is not None else "")
