"""Settles the labels of units: by the majority of their readers, or by an adjudicator, with history."""

from dataclasses import dataclass, field

from PIL import Image
from primitives.annotation.v1.events_pb2 import LabelSettled
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
from services.annotation.protocol_queries import ProtocolKey
from services.annotation.reading_table import Reading
from services.annotation.sources import GreySources, Region
from services.annotation.tables import ItemRow, ProtocolRow, ReaderRow, UnitLabelRow
from services.annotation.unit_labels import answered_units, is_answered, read_labels
from services.annotation.workflow.items import (
    mammogram_view,
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
        """A page of the labels of all units that were answered. Units on which readers disagree come first, also
        once they are settled: so the pages of the list stay the same while it is worked through."""
        with self.ports.records.reading() as session:
            protocol = _closed(session, key, allowed)
            found = read_labels(session, protocol, answered_units(session, key))
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
            answered = answered_units(session, key)
            labels = read_labels(session, protocol, answered)
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
            mammograms=[mammogram_view(row) for row in mammograms.values()],
            answers=[_reader_answer(one) for one in answered[item]],
            history=history,
            next_conflict=next((one.item for one in labels if one.conflicts and one.item != item), None),
        )

    def settle(
        self, key: ProtocolKey, item: int, adjudicator: Reader, request: SettleLabelRequest, allowed: bool
    ) -> UnitLabelView:
        """Settle the label of a unit. Earlier versions stay in the history.

        NotFound if nobody has answered the unit; InvalidAnswer if the answers are incomplete; Conflict if the label was
        changed since `base_version`.
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
        read = _item_row(session, key, item)
        if not is_answered(session, key, item):
            raise NotFound(f"nobody has answered unit {item}, so it has no label to settle")
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
        self.ports.outbox.publish(
            session,
            LabelSettled(
                study_id=key[0],
                protocol_version=key[1],
                item=item,
                layer=read.layer,
                unit=read.unit,
                label_version=newest + 1,
            ),
        )


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
