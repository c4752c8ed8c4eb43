"""Computes the results of a protocol from its readings, and decides who may see them."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from services.annotation import protocol_queries as queries
from services.annotation import repository
from services.annotation.agreement.bootstrap import Resampling
from services.annotation.agreement.controls import RepeatAgreement, false_recognition, repeat_agreement
from services.annotation.agreement.questions import (
    ChoiceQuestion,
    Scale,
    TermsQuestion,
    choice_agreement,
    terms_agreement,
)
from services.annotation.agreement.ratings import MISSING, Ratings
from services.annotation.agreement.shift import label_shift
from services.annotation.label_schemas import UnitLabelView
from services.annotation.protocol.document import ProtocolDocument
from services.annotation.protocol.questionnaire import AnswerValue, Question, Questionnaire
from services.annotation.protocol.vocabulary import Vocabulary
from services.annotation.protocol_queries import ProtocolKey
from services.annotation.reading_table import Reading, read_readings
from services.annotation.result_schemas import (
    LayerSummary,
    QuestionResult,
    ReaderResult,
    ResultsView,
    ShiftView,
    TermCount,
)
from services.annotation.tables import ProtocolReaderRow, ProtocolRow
from services.annotation.unit_labels import counted, read_labels
from services.annotation.workflow.readers import Reader
from services.common.errors import Forbidden, NotFound
from services.common.redaction import quoted
from services.common.work.ports import Ports

RECOGNIZED, ASSOCIATED = ("recognizable", "yes"), ("associated", "yes")
"""Question and choice that count in the summary of layers and on shams. Both shipped questionnaires have them."""

Codes = npt.NDArray[np.int64]


@dataclass
class Results:
    """The use cases of results."""

    ports: Ports

    def of(self, key: ProtocolKey, reader: Reader | None, manages: bool) -> ResultsView:
        """The results of a protocol.

        While it is open they are for the study's owner only, and not even for an owner who reads under it. Once it is
        closed, its readers see them too. Forbidden or NotFound otherwise.
        """
        with self.ports.records.reading() as session:
            protocol = queries.protocol_row(session, key)
            reads = reader is not None and session.get(ProtocolReaderRow, (*key, reader.reader_id)) is not None
            _check_may_see(protocol, reads, manages)
            study = repository.study_row(session, key[0])
            readings = list(read_readings(session, key))
            labels = read_labels(session, protocol, counted(readings))
        return compute_results(protocol, study.architecture, readings, labels)


def compute_results(
    protocol: ProtocolRow, architecture: str, readings: Sequence[Reading], labels: Sequence[UnitLabelView]
) -> ResultsView:
    """Compute all results from the readings of a protocol and the labels of its units.

    The protocol's seed makes the intervals reproducible.
    """
    document = ProtocolDocument.model_validate_json(protocol.document)
    form, vocabulary = document.resolved_questionnaire(), document.resolved_vocabulary()
    resampling = Resampling(document.known_seed)
    units = [one for one in readings if one.kind == "unit" and not one.is_repeat]
    return ResultsView(
        study_id=protocol.study_id,
        version=protocol.version,
        sha256=protocol.sha256,
        title=protocol.title,
        architecture=architecture,
        state="open" if protocol.closed is None else "closed",
        readings=len(readings),
        answered=sum(one.answer is not None for one in readings),
        readers=[
            _reader_result(form, name, list(of_reader), resampling)
            for name, of_reader in groupby(readings, key=lambda one: one.reader)
        ],
        questions=[
            _question_result(question, vocabulary, units, resampling, document.reveal != "never")
            for question in form.questions
            if question.kind != "text"
        ],
        layers=[
            _layer_summary(layer, list(of_layer), vocabulary.titles() if vocabulary is not None else {})
            for layer, of_layer in groupby(sorted(labels, key=lambda one: one.layer), key=lambda one: one.layer)
        ],
    )


def _check_may_see(protocol: ProtocolRow, reads: bool, manages: bool) -> None:
    if not (reads or manages):
        raise NotFound(f"study {quoted(protocol.study_id)} has no protocol of version {protocol.version}")
    if protocol.closed is None and (reads or not manages):
        raise Forbidden("Results are hidden from everybody who reads under a protocol until it is closed.")


def _reader_result(form: Questionnaire, name: str, readings: Sequence[Reading], resampling: Resampling) -> ReaderResult:
    answered = [one for one in readings if one.answer is not None]
    shams = [one for one in answered if one.kind == "sham"]
    return ReaderResult(
        pseudonym=name,
        readings=len(readings),
        answered=len(answered),
        active_s=_median(one.active_s for one in answered),
        first_action_s=_median(one.first_action_s for one in answered),
        false_recognition=false_recognition(sum(_says(one, RECOGNIZED) for one in shams), len(shams)),
        repeats={
            question.id: _repeats(question, answered, resampling) for question in form.questions if question.choices
        },
    )


def _repeats(question: Question, answered: Sequence[Reading], resampling: Resampling) -> RepeatAgreement:
    """Agreement of a reader's first and second readings of the same units."""
    code = _code_of(question)
    first = {one.item: code(one.answer) for one in answered if not one.is_repeat}
    again = {one.item: code(one.answer) for one in answered if one.is_repeat and one.item in first}
    pairs = [(first[item], second) for item, second in again.items()]
    before, after = np.array(pairs, np.int64).reshape(-1, 2).T
    return repeat_agreement(before, after, max(2, len(question.choices)), resampling)


def _question_result(
    question: Question, vocabulary: Vocabulary | None, units: Sequence[Reading], resampling: Resampling, reveals: bool
) -> QuestionResult:
    kind = question.kind
    assert kind != "text"
    if kind == "terms":
        terms = vocabulary.term_ids() if vocabulary is not None else []
        found: Any = terms_agreement(TermsQuestion(question.id, terms, _chosen(question, terms, units)), resampling)
        titles = vocabulary.titles() if vocabulary is not None else {}
        return QuestionResult(
            question=question.id, text=question.text, kind=kind, titles=titles, agreement=found, shift=None
        )
    categories = max(2, len(question.choices))
    first = _table(units, lambda one: _code_of(question)(one.answer))
    ratings = Ratings.of(first, categories)
    scale: Scale = "ordinal" if kind == "scale" else "nominal"
    return QuestionResult(
        question=question.id,
        text=question.text,
        kind=kind,
        titles={choice.id: choice.title for choice in question.choices},
        agreement=choice_agreement(ChoiceQuestion(question.id, ratings, scale), resampling),
        shift=_shift(question, first, units, resampling) if reveals else None,
    )


def _shift(question: Question, first: Codes, units: Sequence[Reading], resampling: Resampling) -> ShiftView:
    second = _table(units, lambda one: _code_of(question)(one.second_answer))
    found = label_shift(first, second, max(2, len(question.choices)), resampling)
    return ShiftView(
        choices=[choice.id for choice in question.choices],
        table=found.table.tolist(),
        changed=found.changed,
        tests=found.tests,
        reason=found.reason,
    )


def _table(units: Sequence[Reading], code: Callable[[Reading], int]) -> Codes:
    """Codes by item (rows, ascending) and reader (columns, by pseudonym); MISSING where there is no answer."""
    items, readers = _places(units)
    table = np.full((len(items), len(readers)), MISSING, np.int64)
    for one in units:
        table[items[one.item], readers[one.reader]] = code(one)
    return table


def _chosen(question: Question, terms: Sequence[str], units: Sequence[Reading]) -> Codes:
    """Whether each reader chose each term for each item: (items, readers, terms). A reader who recognized nothing, and
    so did not see the question, chose none."""
    items, readers = _places(units)
    place = {term: at for at, term in enumerate(terms)}
    table = np.full((len(items), len(readers), len(terms)), MISSING, np.int64)
    for one in units:
        if one.answer is None:
            continue
        cell = table[items[one.item], readers[one.reader]]
        cell[:] = 0
        cell[[place[term] for term in one.answer.get(question.id, []) if term in place]] = 1
    return table


def _places(units: Sequence[Reading]) -> tuple[dict[int, int], dict[str, int]]:
    items = {item: at for at, item in enumerate(sorted({one.item for one in units}))}
    return items, {reader: at for at, reader in enumerate(sorted({one.reader for one in units}))}


def _code_of(question: Question) -> Callable[[dict[str, AnswerValue] | None], int]:
    """The code of an answer to a question with choices; MISSING if there is none or the question did not apply."""
    codes = {choice.id: at for at, choice in enumerate(question.choices)}
    return lambda answer: codes.get(str((answer or {}).get(question.id)), MISSING)


def _layer_summary(layer: str, labels: Sequence[UnitLabelView], titles: dict[str, str]) -> LayerSummary:
    terms = (value for label in labels for value in label.answers.values() if isinstance(value, list))
    counts = Counter(term for chosen in terms for term in chosen if term in titles)
    return LayerSummary(
        layer=layer,
        units=len(labels),
        recognizable=sum(_is_labelled(label, RECOGNIZED) for label in labels),
        associated=sum(_is_labelled(label, ASSOCIATED) for label in labels),
        unsettled=sum(RECOGNIZED[0] in label.conflicts for label in labels),
        phenomena=[TermCount(term=term, title=titles[term], units=units) for term, units in counts.most_common()],
    )


def _is_labelled(label: UnitLabelView, said: tuple[str, str]) -> bool:
    question, choice = said
    return label.answers.get(question) == choice


def _says(reading: Reading, said: tuple[str, str]) -> bool:
    question, choice = said
    return (reading.answer or {}).get(question) == choice


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
