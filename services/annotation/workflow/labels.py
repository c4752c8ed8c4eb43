"""Settles the labels of units: by the majority of their readers, or by an adjudicator, with history."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from PIL import Image
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.annotation import protocol_queries as queries
from services.annotation import repository
from services.annotation.answer import clean_text
from services.annotation.label_schemas import (
    LabelCase,
    LabelChange,
    ReaderAnswer,
    SettleLabelRequest,
    UnitLabels,
    UnitLabelView,
)
from services.annotation.protocol.document import ProtocolDocument
from services.annotation.protocol.questionnaire import FormAnswer, Questionnaire
from services.annotation.protocol_queries import ProtocolKey
from services.annotation.reading_table import Reading, read_readings
from services.annotation.sources import GreySources, Region
from services.annotation.tables import ItemRow, ProtocolRow, ReaderRow, UnitLabelRow
from services.annotation.workflow.items import (
    item_mammogram_view,
    patch_view,
    picture_of,
    preview_of,
    shown_pictures,
    stored_mammogram,
    stored_patch,
)
from services.annotation.workflow.readers import Reader
from services.common.access.audit import Actor, Audit
from services.common.errors import Conflict, Forbidden, NotFound, Overtaken
from services.common.paging import FIRST_PAGE, Window, next_offset
from services.common.work.ports import Ports


@dataclass
class Labels:
    """The use cases of unit labels, for adjudicators and the owners of studies, once the protocol is closed."""

    ports: Ports
    audit: Audit = field(default_factory=lambda: Audit("annotation"))
    sources: GreySources = field(default_factory=GreySources)

    def all(self, key: ProtocolKey, allowed: bool, window: Window = FIRST_PAGE) -> UnitLabels:
        """A page of the labels of all units that were answered. Units with conflicts come first."""
        with self.ports.records.reading() as session:
            found = _labels(session, _closed(session, key, allowed), _answered(session, key))
        part = found[window.offset : window.offset + window.limit]
        conflicts = sum(bool(label.conflicts) for label in found)
        return UnitLabels(
            labels=part, conflicts=conflicts, total=len(found), next_offset=next_offset(window, len(found))
        )

    def one(self, key: ProtocolKey, item: int, allowed: bool) -> LabelCase:
        """A unit with its patches, all answers to it, and the history of its label."""
        with self.ports.records.reading() as session:
            protocol = _closed(session, key, allowed)
            document = ProtocolDocument.model_validate_json(protocol.document)
            answered = _answered(session, key)
            labels = _labels(session, protocol, answered)
            label = next((one for one in labels if one.item == item), None)
            if label is None:
                raise NotFound(f"version {key[1]} of the protocol has no answered unit with the number {item}")
            study = repository.study_row(session, key[0])
            shown = shown_pictures(session, _item_row(session, key, item))
            numbers = {picture.mammogram for _, picture in shown if picture.mammogram is not None}
            mammograms = repository.mammograms(session, key[0], numbers)
            history = _history(session, key, item)
        return LabelCase(
            study_id=key[0],
            version=key[1],
            title=protocol.title,
            label=label,
            questionnaire=document.resolved_questionnaire(),
            vocabulary=document.resolved_vocabulary(),
            patches=[patch_view(study, number, one, True) for number, one in enumerate(shown, 1)],
            mammograms=[item_mammogram_view(row) for row in mammograms.values()],
            answers=[_reader_answer(one) for one in answered[item]],
            history=history,
            next_conflict=next((one.item for one in labels if one.conflicts and one.item != item), None),
        )

    def settle(
        self, key: ProtocolKey, item: int, adjudicator: Reader, request: SettleLabelRequest, allowed: bool
    ) -> UnitLabelView:
        """Settle the label of a unit. Earlier versions stay in the history.

        InvalidAnswer if the answers are incomplete; Conflict if the label was changed since `base_version`.
        """
        try:
            with self.ports.records.transaction() as session:
                self._settle(session, _closed(session, key, allowed), (item, adjudicator), request)
                subject = f"{key[0]}/{key[1]}/{item}"
                self.audit.record("label_settled", subject, actor=Actor(reader=adjudicator.name), session=session)
        except Overtaken as error:
            raise Conflict("another adjudicator has settled this label at the same moment; read it again") from error
        return self.one(key, item, allowed).label

    def picture(self, key: ProtocolKey, item: int, number: int, allowed: bool) -> bytes:
        """The picture of a patch of a unit; numbers count from 1."""
        with self.ports.records.reading() as session:
            _closed(session, key, allowed)
            shown = shown_pictures(session, _item_row(session, key, item))
        return picture_of(self.ports.blobs, shown, number)

    def mammogram(self, key: ProtocolKey, item: int, number: int, allowed: bool) -> bytes:
        """The preview of a mammogram that a patch of a unit was cut from."""
        with self.ports.records.reading() as session:
            _closed(session, key, allowed)
            found = preview_of(session, _item_row(session, key, item), number)
        return self.ports.blobs.get(found.preview_bucket, found.preview_key)

    def source(self, key: ProtocolKey, item: int, number: int, allowed: bool) -> Image.Image:
        """A patch of a unit as the data set stores it, in grey with 8 or 16 bits; numbers count from 1."""
        with self.ports.records.reading() as session:
            _closed(session, key, allowed)
            found = stored_patch(session, _item_row(session, key, item), number)
        return self.sources.patch(self.ports.blobs, found)

    def region(self, key: ProtocolKey, item: int, number: int, region: Region | None, allowed: bool) -> Image.Image:
        """A region of a full mammogram that a patch of a unit was cut from, in grey with 8 or 16 bits."""
        with self.ports.records.reading() as session:
            _closed(session, key, allowed)
            place = stored_mammogram(preview_of(session, _item_row(session, key, item), number))
        return self.sources.mammogram(self.ports.blobs, place, region)

    def _settle(
        self, session: Session, protocol: ProtocolRow, place: tuple[int, Reader], request: SettleLabelRequest
    ) -> None:
        (item, adjudicator), key = place, (protocol.study_id, protocol.version)
        _item_row(session, key, item)
        document = ProtocolDocument.model_validate_json(protocol.document)
        answers = document.resolved_questionnaire().complete(request.answers, document.resolved_vocabulary())
        newest = max((one.label_version for one in _history(session, key, item)), default=0)
        if newest != request.base_version:
            raise Conflict(
                f"the label was changed meanwhile: version {newest} is saved, and this change is based on version "
                f"{request.base_version}"
            )
        session.add(
            UnitLabelRow(
                study_id=key[0],
                version=key[1],
                item=item,
                label_version=newest + 1,
                answers=answers,
                reason=clean_text(request.reason),
                adjudicator_id=adjudicator.reader_id,
            )
        )
        session.flush()


def _closed(session: Session, key: ProtocolKey, allowed: bool) -> ProtocolRow:
    """The row of a closed protocol. NotFound if the caller may not adjudicate; Forbidden while it is open."""
    if not allowed:
        raise NotFound("only adjudicators and the owners of studies see the labels of units")
    protocol = queries.protocol_row(session, key)
    if protocol.closed is None:
        raise Forbidden("Labels are settled once the protocol is closed: until then, nobody sees the readers' answers.")
    return protocol


def _item_row(session: Session, key: ProtocolKey, item: int) -> ItemRow:
    row = session.get(ItemRow, (*key, item)) if 0 <= item < 2**31 else None
    if row is None or row.kind != "unit":
        raise NotFound(f"version {key[1]} of the protocol has no unit with the number {item}")
    return row


def _answered(session: Session, key: ProtocolKey) -> dict[int, list[Reading]]:
    """The readings that count for labels, by item; within one, by pseudonym."""
    by_item: defaultdict[int, list[Reading]] = defaultdict(list)
    for reading in read_readings(session, key):
        if _counts(reading):
            by_item[reading.item].append(reading)
    return dict(by_item)


def _labels(session: Session, protocol: ProtocolRow, answered: Mapping[int, Sequence[Reading]]) -> list[UnitLabelView]:
    """The labels of all units that were answered; those with conflicts first, then by item."""
    key = protocol.study_id, protocol.version
    form = ProtocolDocument.model_validate_json(protocol.document).resolved_questionnaire()
    adjudicated = _newest_labels(session, key)
    labels = [_label(form, readings, adjudicated.get(item)) for item, readings in answered.items()]
    return sorted(labels, key=lambda label: (not label.conflicts, label.item))


def _label(form: Questionnaire, readings: Sequence[Reading], settled: UnitLabelRow | None) -> UnitLabelView:
    first, unit = readings[0], readings[0].unit
    assert unit is not None
    answers, conflicts = majority(form, [reading.answer or {} for reading in readings])
    if settled is not None:
        answers, conflicts = settled.answers, []
    return UnitLabelView(
        item=first.item,
        layer=first.layer,
        unit=unit,
        part=first.part,
        readers=len(readings),
        answers=answers,
        source="majority" if settled is None else "adjudicator",
        conflicts=conflicts,
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


def _counts(reading: Reading) -> bool:
    """Whether a reading counts for the label of its unit."""
    return reading.kind == "unit" and not reading.is_repeat and reading.answer is not None


def _newest_labels(session: Session, key: ProtocolKey) -> Mapping[int, UnitLabelRow]:
    """The newest adjudicated label of each unit, by item."""
    query = select(UnitLabelRow).where(UnitLabelRow.study_id == key[0], UnitLabelRow.version == key[1])
    return {row.item: row for row in session.scalars(query.order_by(UnitLabelRow.item, UnitLabelRow.label_version))}


def _history(session: Session, key: ProtocolKey, item: int) -> list[LabelChange]:
    query = (
        select(UnitLabelRow, ReaderRow.name)
        .join(ReaderRow, ReaderRow.reader_id == UnitLabelRow.adjudicator_id)
        .where(UnitLabelRow.study_id == key[0], UnitLabelRow.version == key[1], UnitLabelRow.item == item)
        .order_by(UnitLabelRow.label_version)
    )
    return [
        LabelChange(
            label_version=row.label_version, answers=row.answers, reason=row.reason, adjudicator=name, saved=row.saved
        )
        for row, name in session.execute(query)
    ]


def _reader_answer(reading: Reading) -> ReaderAnswer:
    return ReaderAnswer(reader=reading.reader, answers=reading.answer or {}, misfits=list(reading.misfits))
