"""Saves answers, each in one transaction with its log entry and its event, and reads them."""

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field

from google.protobuf import json_format
from primitives.annotation.v1.events_pb2 import ResponseGiven
from sqlalchemy.orm import Session

from services.annotation import repository
from services.annotation.answer import Answer, StaleVersion, complete
from services.annotation.audit_chain import chain_answer
from services.annotation.repository import UnitKey
from services.annotation.schemas import ReaderSummary, ResponseList, ResponseView, Summary, SummaryQuery, UnitPlace
from services.annotation.tables import ReaderRow, ResponseLogRow, ResponseRow, StudyRow
from services.annotation.workflow.blinding import blinding_of, listed_study
from services.annotation.workflow.readers import Reader
from services.common.access.audit import Actor, Audit
from services.common.errors import InvalidInput, Overtaken
from services.common.identity import new_id
from services.common.paging import Window, next_offset
from services.common.records import now
from services.common.work.ports import Ports
from services.imaging.units import unit_name

FIRST_UNITS = SummaryQuery()


@dataclass(frozen=True)
class Share:
    """A reader in the window of a summary: the number of answers, and the part of them that the window covers."""

    reader_id: str
    name: str
    answers: int
    offset: int
    limit: int


@dataclass
class Responses:
    """The use cases of answers."""

    ports: Ports
    audit: Audit = field(default_factory=lambda: Audit("annotation"))

    def put(
        self, reader: Reader, key: UnitKey, typed: Answer, base_version: int, idempotency_key: str = ""
    ) -> ResponseView:
        """Save and commit a reader's answer to a unit.

        The same answer with the same idempotency key is saved once. StaleVersion if the answer was changed since
        `base_version`; InvalidAnswer if the answer is incomplete; InvalidInput for a silent unit.
        """
        answer = complete(typed)
        idempotency_key = idempotency_key or new_id("key")
        try:
            return self._put(reader, key, answer, base_version, idempotency_key)
        except Overtaken:  # another first answer of the same reader was saved meanwhile: retry, and find it
            return self._put(reader, key, answer, base_version, idempotency_key)

    def one(self, reader: Reader, key: UnitKey) -> ResponseView | None:
        """The reader's own answer to a unit, if there is one."""
        with self.ports.records.reading() as session:
            row = repository.response_row(session, key, reader.reader_id)
            return ResponseView.model_validate(row) if row is not None else None

    def by_unit(self, reader: Reader, extraction_id: str, layer: str) -> dict[int, list[tuple[str, int]]]:
        """The answered units of a layer in the studies of an extraction that a reader sees: by channel, the studies and
        their numbers of answers. The answers themselves are shown only to their readers."""
        answered: dict[int, list[tuple[str, int]]] = {}
        with self.ports.records.reading() as session:
            for unit, study_id, count in repository.answers_by_unit(session, reader.reader_id, extraction_id, layer):
                answered.setdefault(unit, []).append((study_id, count))
        return answered

    def own(self, reader: Reader, offset: int = 0, limit: int = 50) -> ResponseList:
        """A part of the reader's own answers, by study, layer and unit."""
        with self.ports.records.reading() as session:
            rows, total = repository.responses_of(session, reader.reader_id, offset, limit)
            return ResponseList(responses=[ResponseView.model_validate(row) for row in rows], total=total)

    def latest(self, reader: Reader, count: int) -> tuple[list[UnitPlace], int]:
        """The units that the reader answered last, by study, layer and unit, and the number of all."""
        with self.ports.records.reading() as session:
            keys = repository.latest_places(session, reader.reader_id, count)
            total = repository.count_own(session, reader.reader_id)
        return _places(sorted(keys)), total

    def summary(self, reader: Reader | None = None, study_id: str = "", window: Window = FIRST_UNITS) -> Summary:
        """A page of all readers and the units that each answered, in one study or in all, without the answers
        themselves. For a reader: only the studies that this reader sees, and their readers."""
        viewer_id = reader.reader_id if reader is not None else None
        with self.ports.records.reading() as session:
            counts = repository.answers_by_reader(session, viewer_id, study_id)
            shares = _shares(counts, window)
            whole = [share.reader_id for share in shares[1:-1]]
            answered = repository.all_answered_by(session, whole, viewer_id, study_id)
            for share in {*shares[:1], *shares[-1:]}:  # the window may begin or end between the answers of a reader
                part = (share.offset, share.limit)
                answered[share.reader_id] = repository.answered_by(session, share.reader_id, viewer_id, study_id, part)
        readers = [
            ReaderSummary(name=share.name, answered=_places(answered.get(share.reader_id, [])), total=share.answers)
            for share in shares
        ]
        total = sum(max(answers, 1) for _, _, answers in counts)
        return Summary(readers=readers, total=total, next_offset=next_offset(window, total))

    def totals_by_layer(self, names: Collection[str], study_ids: Collection[str]) -> dict[tuple[str, str, str], int]:
        """How many units of each layer of some studies some readers answered, by reader, study and layer."""
        with self.ports.records.reading() as session:
            return repository.totals_by_layer(session, names, study_ids)

    def answered_in_layers(self, reader: Reader, extraction_id: str) -> dict[str, int]:
        """How many units of each layer were answered in the studies of an extraction that a reader sees."""
        with self.ports.records.reading() as session:
            return repository.answered_in_layers(session, reader.reader_id, extraction_id)

    def _put(
        self, reader: Reader, key: UnitKey, answer: Answer, base_version: int, idempotency_key: str
    ) -> ResponseView:
        """Save an answer, and record the labels that the reader sees because of it."""
        with self.ports.records.transaction() as session:
            study = listed_study(session, key[0], reader)
            if study.labels_shown == "after_list":  # of two last answers at once, the second must count the first
                session.get_one(ReaderRow, reader.reader_id, with_for_update=True)
            if repository.unit_row(session, key).silent:
                raise InvalidInput(f"unit {unit_name(key[2])} of {key[1]} is silent and cannot be answered")
            row = repository.response_row(session, key, reader.reader_id, for_update=True)
            logged = repository.logged(session, key, reader.reader_id, idempotency_key)
            if logged is not None and _answer_of(logged) == answer:
                return ResponseView.model_validate(logged)
            version = row.version if row is not None else 0
            if version != base_version:
                saved = _answer_of(row) if row is not None else Answer()
                raise StaleVersion(unit_name(key[2]), base_version, version, saved)
            after_reveal = blinding_of(session, study, reader).reveals(answered=row is not None)
            if row is None:
                row = ResponseRow(study_id=key[0], layer=key[1], unit=key[2], reader_id=reader.reader_id)
            row.version, row.after_reveal = version + 1, after_reveal
            self._save(session, row, answer, idempotency_key)
            if not after_reveal and blinding_of(session, study, reader).reveals(answered=True):
                actor = Actor(reader=reader.name)
                self.audit.record("label_revealed", _revealed(study, key), actor=actor, session=session)
            return ResponseView.model_validate(row)

    def _save(self, session: Session, row: ResponseRow, answer: Answer, idempotency_key: str) -> None:
        """Write the answer, its log entry and its event."""
        place = {"study_id": row.study_id, "layer": row.layer, "unit": row.unit, "reader_id": row.reader_id}
        version = {"version": row.version, "after_reveal": row.after_reveal}
        values = asdict(answer) | version | {"saved": now()}
        for name, value in values.items():
            setattr(row, name, value)
        session.add(row)
        logged = ResponseLogRow(**place, **values, idempotency_key=idempotency_key)
        session.add(logged)
        session.flush()
        chain_answer(session, logged)
        self.ports.outbox.publish(session, json_format.ParseDict(place | version, ResponseGiven()))


def _revealed(study: StudyRow, key: UnitKey) -> str:
    """The study or the unit whose labels an answer reveals, for the audit log."""
    return key[0] if study.labels_shown == "after_list" else "/".join((*key[:2], unit_name(key[2])))


def _shares(counts: Iterable[tuple[str, str, int]], window: Window) -> list[Share]:
    """The readers in a window over the answers of all readers (id, name, number). One without an answer takes one
    place."""
    shares, begin, end = [], 0, window.offset + window.limit
    for reader_id, name, answers in counts:
        skipped, shown = max(window.offset - begin, 0), min(end - begin, answers)
        begin += max(answers, 1)
        if window.offset < begin and begin - max(answers, 1) < end:
            shares.append(Share(reader_id, name, answers, skipped, max(shown - skipped, 0)))
    return shares


def _places(keys: Iterable[UnitKey]) -> list[UnitPlace]:
    return [UnitPlace(study_id=study_id, layer=layer, unit=unit) for study_id, layer, unit in keys]


def _answer_of(row: ResponseRow | ResponseLogRow) -> Answer:
    return Answer(row.recognizable, row.associated, row.multiplicity, row.description)
