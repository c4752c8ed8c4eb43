"""Labels of units: what the majority of their readers say, or what an adjudicator has settled on.

The list of labels and the summary by layer are computed from the same labels.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.annotation.label_schemas import UnitLabelView
from services.annotation.protocol.document import ProtocolDocument
from services.annotation.protocol.questionnaire import FormAnswer, Questionnaire
from services.annotation.protocol_queries import ProtocolKey, is_of
from services.annotation.reading_table import Reading, read_readings
from services.annotation.tables import ProtocolRow, ReadingRow, UnitLabelRow


def answered_units(session: Session, key: ProtocolKey) -> dict[int, list[Reading]]:
    """The readings that count for labels, by item; within one, by pseudonym."""
    return counted(read_readings(session, key))


def is_answered(session: Session, key: ProtocolKey, item: int) -> bool:
    """Whether a unit has a reading that counts for its label."""
    query = select(ReadingRow.answer).where(is_of(ReadingRow, key), ReadingRow.item == item, ~ReadingRow.is_repeat)
    return any((answer or {}).get("answers") is not None for answer in session.scalars(query))


def counted(readings: Iterable[Reading]) -> dict[int, list[Reading]]:
    """Those of the readings that count for labels, by item: answered first readings of units."""
    by_item: defaultdict[int, list[Reading]] = defaultdict(list)
    for reading in readings:
        if reading.kind == "unit" and not reading.is_repeat and reading.answer is not None:
            by_item[reading.item].append(reading)
    return dict(by_item)


def read_labels(
    session: Session, protocol: ProtocolRow, answered: Mapping[int, Sequence[Reading]]
) -> list[UnitLabelView]:
    """The labels of all units that were answered. Units on which readers disagree come first, then by item."""
    form = ProtocolDocument.model_validate_json(protocol.document).resolved_questionnaire()
    settled = _newest_labels(session, (protocol.study_id, protocol.version))
    found = [_label(form, readings, settled.get(item)) for item, readings in answered.items()]
    return [label for _, label in sorted(found, key=lambda one: (not one[0], one[1].item))]


def labels_with_readings(session: Session, protocol: ProtocolRow) -> list[tuple[UnitLabelView, list[Reading]]]:
    """The labels of all units of a protocol that were answered, by item, each with the readings of the unit."""
    answered = answered_units(session, (protocol.study_id, protocol.version))
    labels = sorted(read_labels(session, protocol, answered), key=lambda label: label.item)
    return [(label, answered[label.item]) for label in labels]


def adjudicators(session: Session, key: ProtocolKey) -> dict[int, str]:
    """Who has settled the label of each unit last, by item."""
    return {item: row.adjudicator_id for item, row in _newest_labels(session, key).items()}


def _newest_labels(session: Session, key: ProtocolKey) -> dict[int, UnitLabelRow]:
    """The newest adjudicated label of each unit, by item."""
    query = select(UnitLabelRow).where(UnitLabelRow.study_id == key[0], UnitLabelRow.version == key[1])
    return {row.item: row for row in session.scalars(query.order_by(UnitLabelRow.item, UnitLabelRow.label_version))}


def _label(
    form: Questionnaire, readings: Sequence[Reading], settled: UnitLabelRow | None
) -> tuple[bool, UnitLabelView]:
    """Whether the readers of a unit disagree, and its label."""
    first, unit = readings[0], readings[0].unit
    assert unit is not None
    answers, conflicts = majority(form, [reading.answer or {} for reading in readings])
    return bool(conflicts), UnitLabelView(
        item=first.item,
        layer=first.layer,
        unit=unit,
        part=first.part,
        readers=len(readings),
        answers=answers if settled is None else settled.answers,
        source="majority" if settled is None else "adjudicator",
        conflicts=conflicts if settled is None else [],
        label_version=0 if settled is None else settled.label_version,
    )


def majority(form: Questionnaire, given: Sequence[FormAnswer]) -> tuple[FormAnswer, list[str]]:
    """What more than half of the readers answered, by question, and the questions on which no choice has a majority.

    Questions that do not apply to the majority's answers are left out. Scales and texts have no label.
    """
    answers: FormAnswer = {}
    conflicts: list[str] = []
    for question in form.questions:
        if question.kind not in ("choice", "terms") or not question.applies(answers):
            continue
        values = [answer[question.id] for answer in given if question.id in answer]
        if question.kind == "terms":
            chosen = _above_half((term for value in values if isinstance(value, list) for term in value), len(given))
            if chosen:
                answers[question.id] = chosen
            continue
        common = _above_half((str(value) for value in values), len(values))
        if common:
            answers[question.id] = common[0]
        else:
            conflicts.append(question.id)
    return answers, conflicts


def _above_half(values: Iterable[str], readers: int) -> list[str]:
    return [value for value, count in Counter(values).items() if 2 * count > readers]
