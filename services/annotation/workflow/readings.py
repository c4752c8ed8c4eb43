"""What readers do under a protocol: they read, answer, skip, come back, and see labels once they are revealed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from PIL import Image
from sqlalchemy.orm import Session

from services.annotation import protocol_queries as queries
from services.annotation import repository
from services.annotation.audit_chain import chain_answer
from services.annotation.protocol.document import ProtocolDocument
from services.annotation.protocol_queries import ProtocolKey
from services.annotation.protocol_schemas import (
    AnswerReadingRequest,
    DraftReadingRequest,
    ReadingLists,
    ReadingListView,
    ReadingPlace,
    ReadingPlaces,
    ReadingView,
    SavedAnswer,
)
from services.annotation.sources import GreySources, Region
from services.annotation.tables import (
    ItemRow,
    ProtocolReaderRow,
    ProtocolRow,
    ReadingLogRow,
    ReadingRow,
    StudyRow,
)
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
from services.common.errors import Conflict, InvalidInput, NotFound
from services.common.identity import new_id
from services.common.records import now
from services.common.redaction import quoted
from services.common.work.ports import Ports

ACTIVE_EVERY = timedelta(seconds=60)
"""The time of a reader's last call is written at most this often while the reader only looks."""


class StaleAnswer(Conflict):
    """The answer was changed since the caller read it. `saved` is the current answer, with its `version`."""

    def __init__(self, base_version: int, version: int, saved: SavedAnswer | None) -> None:
        super().__init__(
            f"your answer was changed elsewhere: version {version} is saved, and this change is based on version "
            f"{base_version}"
        )
        self.version, self.saved = version, saved


@dataclass(frozen=True)
class _Opened:
    """A reading with the protocol that it belongs to."""

    row: ReadingRow
    protocol: ProtocolRow
    document: ProtocolDocument

    @property
    def key(self) -> ProtocolKey:
        return self.row.study_id, self.row.version


@dataclass
class Readings:
    """The use cases of readers. A reading of another reader does not exist for them."""

    ports: Ports
    audit: Audit = field(default_factory=lambda: Audit("annotation"))
    sources: GreySources = field(default_factory=GreySources)

    def lists(self, reader: Reader) -> ReadingLists:
        """The reading lists of a reader, newest first."""
        with self.ports.records.reading() as session:
            found = queries.protocols_of_reader(session, reader.reader_id)
            keys = [(protocol.study_id, protocol.version) for protocol, _ in found]
            counts = queries.counts_by_reader(session, keys, reader.reader_id) if keys else {}
            return ReadingLists(
                lists=[_list_view(session, protocol, member, counts) for protocol, member in found],
            )

    def list(self, reader: Reader, key: ProtocolKey) -> ReadingListView:
        """The reading list of a reader under a protocol. NotFound if the reader does not belong to it."""
        with self.ports.records.reading() as session:
            protocol, member = _membership(session, key, reader)
            counts = queries.counts_by_reader(session, [key], reader.reader_id)
            return _list_view(session, protocol, member, counts)

    def places(self, reader: Reader, key: ProtocolKey, positions: range | None = None) -> ReadingPlaces:
        """The readings of a reader's list, in its order; only those at some positions if they are given."""
        with self.ports.records.reading() as session:
            _membership(session, key, reader)
            found = queries.readings_of(session, key, reader.reader_id, positions)
        return ReadingPlaces(
            readings=[ReadingPlace(reading_id=id_, position=position, state=state) for id_, position, state in found]
        )

    def last_position(self, reader: Reader, key: ProtocolKey) -> int:
        """The last position of a reader's list; 0 if it is empty."""
        with self.ports.records.reading() as session:
            return queries.last_position(session, key, reader.reader_id)

    def position(self, reader: Reader, reading_id: str) -> int:
        """The position of a reading in the list of its reader."""
        with self.ports.records.reading() as session:
            return queries.own_reading(session, reading_id, reader.reader_id).position

    def get(self, reader: Reader, reading_id: str) -> ReadingView:
        """A reading. The first call of its reader records when it was shown."""
        with self.ports.records.reading() as session:
            opened = _open(session, reading_id, reader)
            view = _reading_view(session, opened)
            member = _member(session, opened.key, reader)
            is_new = opened.row.shown is None
            is_idle = now() - member.active > ACTIVE_EVERY
        if (is_new or is_idle) and opened.protocol.closed is None:
            self._show(reader, reading_id)
        return view.model_copy(update={"state": "shown"}) if is_new and view.state == "waiting" else view

    def answer(self, reader: Reader, reading_id: str, request: AnswerReadingRequest) -> ReadingView:
        """Save and commit an answer; after the reveal, the second answer.

        The same answer with the same idempotency key is saved once. StaleAnswer if it was changed since `base_version`;
        InvalidAnswer if it is incomplete; Conflict if the protocol is closed, or if another reader has taken over the
        reading: then the answer is kept in the log only.
        """
        key = request.idempotency_key or new_id("key")
        with self.ports.records.transaction() as session:
            late = _taken_over(session, reading_id, reader)
            if late:
                _log(session, reading_id, reader, ("late", request.model_dump(mode="json"), 0), key)
            else:
                opened = _open(session, reading_id, reader, lock=True)
                self._answer(session, opened, reader, request, key)
        if late:
            raise Conflict(
                "Another reader has taken over this unit, because you did not work on the study for the time that its "
                "protocol allows. Your answer is kept in the log, and it does not count."
            )
        return self.get(reader, reading_id)

    def save_draft(self, reader: Reader, reading_id: str, request: DraftReadingRequest) -> None:
        """Keep an unfinished answer as history. StaleAnswer if an answer was saved since `base_version`: a draft never
        replaces a newer answer."""
        with self.ports.records.transaction() as session:
            opened = _open(session, reading_id, reader, lock=True)
            row = opened.row
            _check_open(opened)
            _check_version(row, request.base_version)
            row.draft = {"answers": request.answers, "misfits": request.misfits}
            _log(session, reading_id, reader, ("draft", row.draft, row.answer_version), new_id("key"))
            _touch(session, opened.key, reader)

    def skip(self, reader: Reader, reading_id: str) -> ReadingView:
        """Postpone a reading to the end of the list. An answered one stays answered."""
        with self.ports.records.transaction() as session:
            opened = _open(session, reading_id, reader, lock=True)
            _check_open(opened)
            if opened.row.state != "answered":
                opened.row.state = "skipped"
                _log(session, reading_id, reader, ("skipped", None, opened.row.answer_version), new_id("key"))
            _touch(session, opened.key, reader)
        return self.get(reader, reading_id)

    def reveal(self, reader: Reader, reading_id: str) -> ReadingView:
        """Lock the answer and show the classes of the patches from now on. Conflict before the protocol allows it."""
        with self.ports.records.transaction() as session:
            opened = _open(session, reading_id, reader, lock=True)
            row = opened.row
            is_new = row.revealed is None
            if is_new:
                _check_open(opened)
                if not _may_reveal(session, opened):
                    raise Conflict(_WHEN[opened.document.reveal])
                row.revealed = now()
                _log(session, reading_id, reader, ("revealed", None, row.answer_version), new_id("key"))
                _touch(session, opened.key, reader)
                self.audit.record("label_revealed", reading_id, actor=Actor(reader=reader.name), session=session)
        return self.get(reader, reading_id)

    def take(self, reader: Reader, key: ProtocolKey) -> ReadingListView:
        """Take over a reading of a reader who was not active for the protocol's lease. NotFound if there is none."""
        with self.ports.records.transaction() as session:
            protocol, _ = _membership(session, key, reader)
            document = ProtocolDocument.model_validate_json(protocol.document)
            if protocol.closed is not None:
                raise Conflict(f"version {key[1]} of the protocol is closed")
            lapsed = now() - timedelta(hours=document.lease_hours)
            row = queries.lapsed_reading(session, key, reader.reader_id, lapsed)
            if row is None:
                raise NotFound("no unit of another reader is free to be taken over")
            _log(session, row.reading_id, Reader(row.reader_id, ""), ("taken", row.draft, 0), new_id("key"))
            row.position = queries.last_position(session, key, reader.reader_id) + 1
            row.reader_id, row.state = reader.reader_id, "waiting"
            row.draft = row.shown = None
            _touch(session, key, reader)
        return self.list(reader, key)

    def next(self, reader: Reader, reading_id: str) -> str | None:
        """The reading to do after one; None if all are done."""
        with self.ports.records.reading() as session:
            row = queries.own_reading(session, reading_id, reader.reader_id)
            return queries.next_reading(session, (row.study_id, row.version), reader.reader_id, row.position)

    def picture(self, reader: Reader, reading_id: str, number: int) -> bytes:
        """The picture of a patch; numbers count from 1."""
        with self.ports.records.reading() as session:
            shown = shown_pictures(session, queries.own_reading(session, reading_id, reader.reader_id))
        return picture_of(self.ports.blobs, shown, number)

    def mammogram(self, reader: Reader, reading_id: str, number: int) -> bytes:
        """The preview of a mammogram that a patch of a reading was cut from."""
        with self.ports.records.reading() as session:
            row = queries.own_reading(session, reading_id, reader.reader_id)
            found = preview_of(session, row, number)
        return self.ports.blobs.get(found.preview_bucket, found.preview_key)

    def source(self, reader: Reader, reading_id: str, number: int) -> Image.Image:
        """A patch as the data set stores it, in grey with 8 or 16 bits; numbers count from 1."""
        with self.ports.records.reading() as session:
            found = stored_patch(session, queries.own_reading(session, reading_id, reader.reader_id), number)
        return self.sources.patch(self.ports.blobs, found)

    def region(self, reader: Reader, reading_id: str, number: int, region: Region | None) -> Image.Image:
        """A region of a full mammogram that a patch of a reading was cut from, in grey with 8 or 16 bits."""
        with self.ports.records.reading() as session:
            row = queries.own_reading(session, reading_id, reader.reader_id)
            place = stored_mammogram(preview_of(session, row, number))
        return self.sources.mammogram(self.ports.blobs, place, region)

    def _show(self, reader: Reader, reading_id: str) -> None:
        """Record that a reading is shown, and that its reader is active."""
        with self.ports.records.transaction() as session:
            opened = _open(session, reading_id, reader, lock=True)
            if opened.row.shown is None:
                opened.row.shown = now()
                if opened.row.state == "waiting":
                    opened.row.state = "shown"
            _touch(session, opened.key, reader)

    def _answer(
        self, session: Session, opened: _Opened, reader: Reader, request: AnswerReadingRequest, key: str
    ) -> None:
        row, document = opened.row, opened.document
        answers = document.resolved_questionnaire().complete(request.answers, document.resolved_vocabulary())
        content = {"answers": answers, "misfits": _misfits(session, row, request)}
        repeated = queries.logged(session, row.reading_id, key)
        if repeated is not None and repeated.content == content:
            return
        _check_open(opened)
        _check_version(row, request.base_version)
        row.answer_version += 1
        row.draft = None
        if row.revealed is None:
            row.shown = row.shown or now()  # a program may answer without reading first
            row.answer, row.state, row.submitted = content, "answered", now()
            row.first_action_s, row.active_s = request.first_action_s, request.active_s
        else:
            row.second_answer = content
        kind = "answer" if row.revealed is None else "second_answer"
        _log(session, row.reading_id, reader, (kind, content, row.answer_version), key)
        _touch(session, opened.key, reader)


_WHEN = {
    "never": "This protocol reveals no labels.",
    "after_answer": "Labels are revealed once you have answered this unit, and every other reading of it.",
    "after_list": "Labels are revealed once you have answered your whole list.",
}


def _open(session: Session, reading_id: str, reader: Reader, lock: bool = False) -> _Opened:
    row = queries.own_reading(session, reading_id, reader.reader_id, lock)
    protocol = queries.protocol_row(session, (row.study_id, row.version))
    return _Opened(row, protocol, ProtocolDocument.model_validate_json(protocol.document))


def _membership(session: Session, key: ProtocolKey, reader: Reader) -> tuple[ProtocolRow, ProtocolReaderRow]:
    """The protocol and the row of its reader. NotFound is the same for a protocol that does not exist."""
    member = session.get(ProtocolReaderRow, (*key, reader.reader_id)) if key[1] < 2**31 else None
    if member is None:
        raise NotFound(f"you have no reading list {quoted(key[0])}, version {key[1]}")
    return queries.protocol_row(session, key), member


def _member(session: Session, key: ProtocolKey, reader: Reader) -> ProtocolReaderRow:
    return session.get_one(ProtocolReaderRow, (*key, reader.reader_id))


def _touch(session: Session, key: ProtocolKey, reader: Reader) -> None:
    """Record that a reader is active, which renews the lease of all of the reader's readings."""
    _member(session, key, reader).active = now()


def _taken_over(session: Session, reading_id: str, reader: Reader) -> bool:
    """Whether a reading was this reader's until another one took it over."""
    row = session.get(ReadingRow, reading_id)
    return (
        row is not None
        and row.reader_id != reader.reader_id
        and queries.was_taken(session, reading_id, reader.reader_id)
    )


def _check_open(opened: _Opened) -> None:
    if opened.protocol.closed is not None:
        raise Conflict(
            f"The study closed at {opened.protocol.closed.isoformat(timespec='minutes')}. Nothing was saved."
        )


def _check_version(row: ReadingRow, base_version: int) -> None:
    if base_version != row.answer_version:
        saved = row.answer if row.revealed is None else row.second_answer
        raise StaleAnswer(base_version, row.answer_version, _saved(saved))


def _may_reveal(session: Session, opened: _Opened) -> bool:
    """Whether the reader may reveal the labels of a reading now. A unit that is read twice stays blind until both
    readings are answered."""
    row = opened.row
    if opened.document.reveal == "never" or row.state != "answered":
        return False
    if opened.document.reveal == "after_list":
        return not queries.unanswered_at_all(session, row)
    return not queries.unanswered_of_item(session, row)


def _misfits(session: Session, row: ReadingRow, request: AnswerReadingRequest) -> list[int]:
    """The numbers of patches that do not fit, ascending. InvalidInput if the item has no such patch."""
    patches = len(session.get_one(ItemRow, (row.study_id, row.version, row.item)).shown)
    if wrong := [number for number in request.misfits if number > patches]:
        raise InvalidInput(f"this item has no patch {wrong[0]}; it has {patches}")
    return sorted(set(request.misfits))


def _log(
    session: Session, reading_id: str, reader: Reader, entry: tuple[str, Mapping[str, Any] | None, int], key: str
) -> None:
    """Add a log entry: kind, content and the version of the answer after it."""
    kind, content, version = entry
    row = ReadingLogRow(
        reading_id=reading_id,
        reader_id=reader.reader_id,
        kind=kind,
        content=dict(content) if content is not None else None,
        answer_version=version,
        idempotency_key=key,
    )
    session.add(row)
    chain_answer(session, row)


def _list_view(
    session: Session,
    protocol: ProtocolRow,
    member: ProtocolReaderRow,
    counts: Mapping[tuple[str, int, str], queries.Counts],
) -> ReadingListView:
    key = protocol.study_id, protocol.version
    document = ProtocolDocument.model_validate_json(protocol.document)
    readings, answered, skipped = counts.get((*key, member.reader_id), (0, 0, 0))
    return ReadingListView(
        study_id=protocol.study_id,
        version=protocol.version,
        sha256=protocol.sha256,
        title=protocol.title,
        instructions=document.instructions,
        state="open" if protocol.closed is None else "closed",
        reveal=document.reveal,
        questionnaire=document.resolved_questionnaire(),
        vocabulary=document.resolved_vocabulary(),
        pseudonym=member.pseudonym,
        readings=readings,
        answered=answered,
        skipped=skipped,
        next=queries.next_reading(session, key, member.reader_id) if protocol.closed is None else None,
    )


def _reading_view(session: Session, opened: _Opened) -> ReadingView:
    row = opened.row
    study = session.get_one(StudyRow, row.study_id)
    shown = shown_pictures(session, row)
    numbers = {picture.mammogram for _, picture in shown if picture.mammogram is not None}
    mammograms = repository.mammograms(session, row.study_id, numbers)
    before, after = queries.around(session, row)
    revealed = row.revealed is not None
    return ReadingView(
        reading_id=row.reading_id,
        study_id=row.study_id,
        version=row.version,
        position=row.position,
        readings=queries.last_position(session, opened.key, row.reader_id),
        state=row.state,
        patches=[patch_view(study, number, one, revealed) for number, one in enumerate(shown, 1)],
        mammograms=[mammogram_view(mammogram) for mammogram in mammograms.values()],
        answer=_saved(row.answer),
        second_answer=_saved(row.second_answer),
        draft=_saved(row.draft),
        answer_version=row.answer_version,
        locked=revealed or opened.protocol.closed is not None,
        may_reveal=not revealed and opened.protocol.closed is None and _may_reveal(session, opened),
        revealed=revealed,
        previous=before,
        next=after,
    )


def _saved(content: Mapping[str, Any] | None) -> SavedAnswer | None:
    return SavedAnswer.model_validate(content) if content is not None else None
