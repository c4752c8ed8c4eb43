"""The names of units: what readers recognised in them, and how many readers agree."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.annotation.explanations.schemas import UnitNameView
from services.annotation.label_schemas import UnitLabelView
from services.annotation.protocol.document import ProtocolDocument
from services.annotation.protocol.questionnaire import FormAnswer, Questionnaire
from services.annotation.protocol.vocabulary import Vocabulary
from services.annotation.reading_table import Reading
from services.annotation.tables import ProtocolRow, ResponseRow, StudyRow
from services.annotation.unit_labels import labels_with_readings
from services.imaging.units import unit_name

LONGEST_NAME = 200
RECOGNIZABLE, ASSOCIATED, YES, NO = "recognizable", "associated", "yes", "no"
"""Questions that both shipped questionnaires and the survey have, and answers to them."""


def names_of_units(session: Session, extraction_id: str, layer: str) -> dict[int, UnitNameView]:
    """The names of the units of a layer, by channel. A unit has a name if more than half of its readers recognise
    something in it and say what.

    The labels of closed protocols count before the responses to studies without a protocol, and newer protocols before
    older ones. Protocols that are still open do not count: nobody may see their answers.
    """
    names = _from_responses(session, extraction_id, layer)
    closed = (
        select(ProtocolRow)
        .join(StudyRow, StudyRow.study_id == ProtocolRow.study_id)
        .where(StudyRow.extraction_id == extraction_id, ProtocolRow.closed.is_not(None))
        .order_by(ProtocolRow.closed, ProtocolRow.study_id, ProtocolRow.version)
    )
    for protocol in session.scalars(closed):
        names |= _from_protocol(session, protocol, layer)
    return dict(sorted(names.items()))


def _from_responses(session: Session, extraction_id: str, layer: str) -> dict[int, UnitNameView]:
    rows = session.scalars(
        select(ResponseRow)
        .join(StudyRow, StudyRow.study_id == ResponseRow.study_id)
        .where(StudyRow.extraction_id == extraction_id, ResponseRow.layer == layer, ~StudyRow.read_by_protocol)
        .order_by(ResponseRow.unit, ResponseRow.saved)
    )
    by_unit: dict[int, list[ResponseRow]] = {}
    for row in rows:
        by_unit.setdefault(row.unit, []).append(row)
    names = {}
    for unit, answers in by_unit.items():
        found = [row for row in answers if row.recognizable == YES and row.description.strip()]
        if 2 * len(found) > len(answers):
            names[unit] = UnitNameView(
                unit=unit,
                name=unit_name(unit),
                text=_joined(row.description for row in found),
                readers=len(answers),
                agreeing=len(found),
                associated=_most_common(row.associated for row in found),
                source="responses",
            )
    return names


def _from_protocol(session: Session, protocol: ProtocolRow, layer: str) -> dict[int, UnitNameView]:
    document = ProtocolDocument.model_validate_json(protocol.document)
    form, vocabulary = document.resolved_questionnaire(), document.resolved_vocabulary()
    parts: dict[int, list[UnitNameView]] = {}
    for label, readings in labels_with_readings(session, protocol):
        if label.layer == layer and (name := _name_of_label(form, vocabulary, label, readings)) is not None:
            parts.setdefault(label.unit, []).append(name)
    return {unit: _merged(names) for unit, names in parts.items()}


def _name_of_label(
    form: Questionnaire, vocabulary: Vocabulary | None, label: UnitLabelView, readings: Sequence[Reading]
) -> UnitNameView | None:
    """The name in a label: its terms or, if the questionnaire has no terms, the readers' own words."""
    if label.answers.get(RECOGNIZABLE) == NO:
        return None
    given = [reading.answer or {} for reading in readings]
    terms = _terms_in(form, label.answers)
    if terms:
        titles = vocabulary.titles() if vocabulary is not None else {}
        text = ", ".join(titles.get(term, term.partition(":")[2] or term) for term in terms)
        agreeing = sum(bool(set(terms) & set(_terms_in(form, answer))) for answer in given)
    else:
        found = [answer for answer in given if answer.get(RECOGNIZABLE, YES) == YES and _words_in(form, answer)]
        text, agreeing = _joined(_words_in(form, answer) for answer in found), len(found)
        if 2 * agreeing <= len(given):
            return None
    return UnitNameView(
        unit=label.unit,
        name=unit_name(label.unit),
        text=text[:LONGEST_NAME],
        readers=len(given),
        agreeing=agreeing,
        associated=str(label.answers.get(ASSOCIATED, "")),
        source=label.source,
    )


def _merged(names: Sequence[UnitNameView]) -> UnitNameView:
    """The name of a unit that was read in two parts: both names, with the agreement of the one with less."""
    least = min(names, key=lambda name: name.agreeing / max(1, name.readers))
    return least.model_copy(update={"text": _joined(name.text for name in names)})


def _terms_in(form: Questionnaire, answer: Mapping[str, str | list[str]]) -> list[str]:
    chosen: list[str] = []
    for question in form.questions:
        value = answer.get(question.id)
        if question.kind == "terms" and isinstance(value, list):
            chosen += value
    return list(dict.fromkeys(chosen))


def _words_in(form: Questionnaire, answer: FormAnswer) -> str:
    texts = [answer.get(question.id) for question in form.questions if question.kind == "text"]
    return " ".join(text.strip() for text in texts if isinstance(text, str)).strip()


def _joined(texts: Iterable[str]) -> str:
    """Different texts, one after the other; the same words in other capitals count once."""
    different = {" ".join(text.split()).casefold(): " ".join(text.split()) for text in reversed(list(texts))}
    return "; ".join(reversed(different.values()))[:LONGEST_NAME]


def _most_common(values: Iterable[str]) -> str:
    return next((value for value, _ in Counter(values).most_common(1)), "")
