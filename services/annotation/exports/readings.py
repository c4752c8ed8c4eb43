"""The columns and rows of an export of the readings of a protocol."""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from services.annotation.exports.columns import Column, Kind, Row
from services.annotation.protocol.questionnaire import FormAnswer, Questionnaire
from services.annotation.reading_table import Reading
from services.imaging.units import unit_name

FIRST = (
    Column("study_id", "text"), Column("protocol_version", "integer"), Column("protocol_sha256", "text"),
    Column("reader", "text"), Column("position", "integer"), Column("item", "integer"), Column("kind", "text"),
    Column("layer", "text"), Column("unit", "integer"), Column("unit_name", "text"), Column("is_repeat", "boolean"),
    Column("state", "text"),
)  # fmt: skip
LAST = (
    Column("answer_version", "integer"), Column("shown", "moment"), Column("submitted", "moment"),
    Column("revealed", "moment"), Column("first_action_s", "number"), Column("active_s", "number"),
    Column("part", "integer"),
)  # fmt: skip


class Source(NamedTuple):
    """The protocol that readings belong to."""

    study_id: str
    version: int
    sha256: str
    questionnaire: Questionnaire


def reading_columns(source: Source) -> list[Column]:
    """The columns: the reading, a column for each question, the patches that do not fit, the same of the second answer,
    and the times."""
    columns = [*FIRST]
    for answer in ("answer", "second"):
        columns += [
            Column(f"{answer}.{question.id}", _kind(question.kind)) for question in source.questionnaire.questions
        ]
        columns.append(Column(f"{answer}.misfits", "integers"))
    return [*columns, *LAST]


def reading_rows(source: Source, readings: Iterable[Reading]) -> Iterator[Row]:
    """The rows of readings, in their order."""
    questions = [question.id for question in source.questionnaire.questions]
    own = [source.study_id, source.version, source.sha256]
    for one in readings:
        yield [
            *own, one.reader, one.position, one.item, one.kind, one.layer, one.unit, _name(one.unit), one.is_repeat,
            one.state, *_answer(one.answer, questions, one.misfits),
            *_answer(one.second_answer, questions, one.second_misfits), one.answer_version, one.shown, one.submitted,
            one.revealed, one.first_action_s, one.active_s, one.part,
        ]  # fmt: skip


def reading_lines(source: Source, readings: Iterable[Reading]) -> Iterator[str]:
    """Readings as lines of JSON, with their answers as they are saved."""
    for one in readings:
        line = {
            "study_id": source.study_id,
            "protocol_version": source.version,
            "protocol_sha256": source.sha256,
            "reader": one.reader,
            "position": one.position,
            "item": one.item,
            "kind": one.kind,
            "layer": one.layer,
            "unit": one.unit,
            "unit_name": _name(one.unit),
            "is_repeat": one.is_repeat,
            "state": one.state,
            "answer": _saved(one.answer, one.misfits),
            "second_answer": _saved(one.second_answer, one.second_misfits),
            "answer_version": one.answer_version,
            "shown": moment_text(one.shown),
            "submitted": moment_text(one.submitted),
            "revealed": moment_text(one.revealed),
            "first_action_s": one.first_action_s,
            "active_s": one.active_s,
            "part": one.part,
        }
        yield f"{json.dumps(line)}\n"


def moment_text(moment: datetime | None) -> str | None:
    """A time as JSON has it."""
    return moment.isoformat() if moment is not None else None


def _kind(question_kind: str) -> Kind:
    return "terms" if question_kind == "terms" else "text"


def _name(unit: int | None) -> str | None:
    return unit_name(unit) if unit is not None else None


def _answer(answer: FormAnswer | None, questions: list[str], misfits: tuple[int, ...]) -> list[Any]:
    if answer is None:
        return [None] * (len(questions) + 1)
    return [*(answer.get(question) for question in questions), list(misfits)]


def _saved(answer: FormAnswer | None, misfits: tuple[int, ...]) -> dict[str, Any] | None:
    return {"answers": answer, "misfits": list(misfits)} if answer is not None else None
