"""Opens and closes versions of the protocol of a study."""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from primitives.annotation.v1.events_pb2 import ProtocolClosed
from sqlalchemy import insert
from sqlalchemy.orm import Session

from services.annotation import protocol_queries as queries
from services.annotation import repository
from services.annotation.agreement.planning import Design as PlannedStudy
from services.annotation.agreement.planning import expected_interval
from services.annotation.opening import OVERVIEW_PICTURES
from services.annotation.picture import decode_pictures
from services.annotation.protocol.clusters import two_groups
from services.annotation.protocol.design import Design, balanced_design
from services.annotation.protocol.document import ProtocolDocument, UnitChoice, canonical, protocol_sha256
from services.annotation.protocol.items import Item, Parts, sham_items, split_items, unit_items
from services.annotation.protocol.order import Place, reading_order, with_repeats
from services.annotation.protocol_queries import ProtocolKey
from services.annotation.protocol_schemas import (
    ExpectedKappa,
    OpenProtocolRequest,
    ProtocolList,
    ProtocolPreview,
    ProtocolView,
    ReaderProgress,
)
from services.annotation.reader_names import name_key, reader_name
from services.annotation.tables import (
    ItemRow,
    ProtocolReaderRow,
    ProtocolRow,
    ReadingRow,
    ReceivedRenderingRow,
    StudyRow,
)
from services.annotation.unit_features import features_of_pictures
from services.annotation.workflow.readers import Reader, Readers
from services.common.access.audit import Audit
from services.common.blobs import Blobs, ObjectRef
from services.common.errors import InvalidInput
from services.common.records import get_row, now
from services.common.redaction import quoted
from services.common.work.ports import Ports

Units = dict[tuple[str, int], int]
"""The chosen units (layer, channel) by layer and number, each with the number of its pictures."""


@dataclass(frozen=True)
class Layout:
    """Everything that follows from a document, a study and a number of readers."""

    document: ProtocolDocument
    units: list[Item]
    shams: list[Item]
    design: Design
    lists: list[list[Place]]
    """By reader: the places of the reading list, in their order."""

    @property
    def items(self) -> list[Item]:
        """The units, and after them the shams."""
        return [*self.units, *self.shams]


@dataclass
class Protocols:
    """The use cases of protocols, for the owners of studies."""

    ports: Ports
    audit: Audit = field(default_factory=lambda: Audit("annotation"))

    def preview(self, study_id: str, request: OpenProtocolRequest) -> ProtocolPreview:
        """What a protocol would be if it were opened now. The same errors as `open`; nothing is saved."""
        readers = distinct_names(request.readers)
        layout = self._lay_out(study_id, request.document, len(readers))
        units = [item for item in layout.units if item.part != 2]
        by_layer: dict[str, int] = {}
        for item in units:
            by_layer[item.layer] = by_layer.get(item.layer, 0) + 1
        lengths = [len(places) for places in layout.lists]
        return ProtocolPreview(
            document=layout.document,
            sha256=protocol_sha256(layout.document),
            units=len(units),
            units_by_layer=by_layer,
            split=len(layout.units) - len(units),
            shams=len(layout.shams),
            repeats=sum(place.is_repeat for places in layout.lists for place in places),
            readers=len(readers),
            readings=sum(lengths),
            fewest_readings=min(lengths),
            most_readings=max(lengths),
            fewest_shared=layout.design.fewest_shared,
            most_shared=layout.design.most_shared,
            expected=_expected_kappas(len(layout.units), request.document.readers_per_unit),
        )

    def open(self, study_id: str, request: OpenProtocolRequest) -> ProtocolView:
        """Open a version of the protocol. An open earlier version closes; its answers stay with it.

        InvalidInput if the document names what the study lacks, or if no design meets it; Conflict if another version
        was opened at the same moment.
        """
        names = distinct_names(request.readers)
        layout = self._lay_out(study_id, request.document, len(names))
        named = Readers(self.ports.records)
        readers = [named.named(name) for name in names]
        with self.ports.records.transaction() as session:
            get_row(session, StudyRow, study_id, "study", lock=True).read_by_protocol = True
            for earlier in queries.protocol_rows(session, study_id):
                if earlier.closed is None:
                    self._close(session, earlier)
            row = _store(session, study_id, layout, readers)
            key = row.study_id, row.version
            outcome = f"version {row.version}, sha256 {row.sha256}, {len(readers)} readers"
            self.audit.record("protocol_opened", study_id, outcome=outcome, session=session)
        return self.get(key)

    def close(self, key: ProtocolKey) -> ProtocolView:
        """Close a version: nothing more can be answered, and its statistics may be seen. Closing again changes
        nothing."""
        with self.ports.records.transaction() as session:
            row = queries.protocol_row(session, key, lock=True)
            if row.closed is None:
                self._close(session, row)
                self.audit.record("protocol_closed", key[0], outcome=f"version {key[1]}", session=session)
        return self.get(key)

    def _close(self, session: Session, row: ProtocolRow) -> None:
        row.closed = now()
        self.ports.outbox.publish(session, ProtocolClosed(study_id=row.study_id, protocol_version=row.version))

    def get(self, key: ProtocolKey) -> ProtocolView:
        """A version of a protocol with the progress of its readers."""
        with self.ports.records.reading() as session:
            return _view(session, queries.protocol_row(session, key))

    def all(self, study_id: str) -> ProtocolList:
        """All versions of a study's protocol, newest first."""
        with self.ports.records.reading() as session:
            repository.study_row(session, study_id)
            return ProtocolList(protocols=[_view(session, row) for row in queries.protocol_rows(session, study_id)])

    def _lay_out(self, study_id: str, document: ProtocolDocument, readers: int) -> Layout:
        """Everything that follows from a document. Objects are read without a session."""
        document = _with_seed(document)
        with self.ports.records.reading() as session:
            study = repository.open_study(session, study_id, None)
            units = choose_units(session, study, document.units)
            split = document.split_units
            rendering = session.get_one(ReceivedRenderingRow, study.rendering_id).manifest if split else None
        if not units:
            raise InvalidInput(f"the protocol chooses no unit of study {study_id} that can be answered")
        parts = find_parts(self.ports.blobs, rendering, units) if rendering is not None else {}
        return lay_out(document, units, parts, readers)


def _expected_kappas(units: int, readers: int) -> list[ExpectedKappa]:
    """What the design can measure, for a low, a middle and a high agreement."""
    if units < 2 or readers < 2:
        return []
    expected = {kappa: expected_interval(PlannedStudy(units, readers, kappa, (0.5, 0.5))) for kappa in (0.3, 0.5, 0.7)}
    return [
        ExpectedKappa(kappa=kappa, half_width=interval.half_width, caution=interval.caution)
        for kappa, interval in expected.items()
    ]


def _with_seed(document: ProtocolDocument) -> ProtocolDocument:
    """The document in full: with its questionnaire and vocabulary, and with a random seed if it has none."""
    seed = secrets.randbelow(2**53) if document.seed is None else document.seed  # exact in every language's numbers
    return document.resolved().model_copy(update={"seed": seed})


def find_parts(blobs: Blobs, rendering: ObjectRef, units: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Parts]:
    """The units (layer, channel) whose pictures fall into two groups, with the ranks of each group."""
    by_layer: dict[str, set[int]] = {}
    for layer, unit in units:
        by_layer.setdefault(layer, set()).add(unit)
    found = {}
    for key, features in features_of_pictures(blobs, rendering, by_layer):
        groups = two_groups(features)
        if groups is not None:
            ranks = [tuple(rank for rank, is_in in enumerate(part, 1) if is_in) for part in (~groups, groups)]
            found[key] = ranks[0], ranks[1]
    return found


def lay_out(document: ProtocolDocument, units: Units, parts: Mapping[tuple[str, int], Parts], readers: int) -> Layout:
    """Make the items and the shams, assign units to readers, and order each reader's list. Both parts of a unit have
    the same readers.

    InvalidInput if a pair of readers shares too few units, or if a reader has too few units for the repeats.
    """
    whole = unit_items(list(units), units, document.patches)
    real = split_items(whole, parts, document.patches) if parts else whole
    shams = sham_items(whole, document.shams, document.known_seed, real if parts else ())
    design = balanced_design(len(whole), readers, document.readers_per_unit)
    if readers > 1 and design.fewest_shared < document.shared_units:
        raise InvalidInput(
            f"two readers share {design.fewest_shared} units; the protocol requires {document.shared_units}. Choose "
            "more units, more readers a unit, or fewer readers"
        )
    own: list[list[Item]] = [[] for _ in range(readers)]
    blocks = {(item.layer, item.unit): block for item, block in zip(whole, design.blocks, strict=True)}
    for item in real:
        for reader in blocks[item.layer, item.unit]:
            own[reader].append(item)
    lists = [_reading_list(document, pseudonym(number), items, shams) for number, items in enumerate(own)]
    return Layout(document, real, shams, design, lists)


def pseudonym(number: int) -> str:
    """The pseudonym of a reader of a protocol, by number from 0: `R01`."""
    return f"R{number + 1:02d}"


def _reading_list(document: ProtocolDocument, reader: str, items: list[Item], shams: list[Item]) -> list[Place]:
    units = [item.number for item in items]
    first_parts = {item.number: item.number - 1 for item in items if item.part == 2}
    order = reading_order(document.known_seed, reader, [*units, *(sham.number for sham in shams)], first_parts)
    places = with_repeats(document.known_seed, reader, order, units, document.repeats)
    found = len(places) - len(order)
    if found < document.repeats:
        raise InvalidInput(
            f"reader {reader} has {len(units)} units, of which {found} can be read twice; the protocol requires "
            f"{document.repeats} repeats"
        )
    return places


def choose_units(session: Session, study: StudyRow, choice: UnitChoice) -> Units:
    """The chosen units (layer, channel) by layer and number, each with the number of its pictures."""
    layers = {row.layer for row in repository.layers(session, [study.study_id])}
    _check_layers(study, layers, {*choice.layers, *choice.units})
    label = choice.label if choice.label >= 0 else len(study.classes) - 1
    if label >= len(study.classes):
        raise InvalidInput(f"study {study.study_id} has no class {label}; it has 0 to {len(study.classes) - 1}")
    ranked = queries.top_ranked(session, study.study_id, label, choice.top) if choice.choose == "ranked" else set()
    chosen, known = {}, set()
    for row in queries.readable_units(session, study.study_id):
        known.add((row.layer, row.unit))
        is_listed = {
            "subset": row.in_subset,
            "all": True,
            "ranked": (row.layer, row.unit) in ranked,
            "named": row.unit in choice.units.get(row.layer, ()),
        }[choice.choose]
        in_layers = not choice.layers or row.layer in choice.layers
        most = OVERVIEW_PICTURES if choice.most_positives is None else choice.most_positives
        in_range = (choice.least_positives or 0) <= row.positives <= most
        if is_listed and in_layers and in_range:
            chosen[row.layer, row.unit] = len(decode_pictures(row.pictures))
    for layer, units in choice.units.items():
        for unit in units:
            if (layer, unit) not in known:
                raise InvalidInput(
                    f"layer {quoted(layer)} of study {study.study_id} has no unit {unit} that can be answered"
                )
    return chosen


def _check_layers(study: StudyRow, known: set[str], named: set[str]) -> None:
    if unknown := sorted(named - known):
        raise InvalidInput(f"study {study.study_id} has no layer {quoted(unknown[0])}")


def distinct_names(typed: Sequence[str]) -> list[str]:
    """The names of readers, each once. InvalidInput names one that is given twice."""
    names = [reader_name(name) for name in typed]
    keys = [name_key(name) for name in names]
    for at, key in enumerate(keys):
        if key in keys[:at]:
            raise InvalidInput(f"reader {quoted(names[at])} is named twice")
    return names


def _store(session: Session, study_id: str, layout: Layout, readers: Sequence[Reader]) -> ProtocolRow:
    """Write a version with its items, readers and reading lists."""
    version = queries.newest_version(session, study_id) + 1
    document = layout.document
    row = ProtocolRow(
        study_id=study_id,
        version=version,
        sha256=protocol_sha256(document),
        title=document.title,
        document=canonical(document),
        items=len(layout.items),
    )
    session.add(row)
    session.flush()
    own = {"study_id": study_id, "version": version}
    session.add_all(
        ProtocolReaderRow(**own, reader_id=reader.reader_id, pseudonym=pseudonym(number))
        for number, reader in enumerate(readers)
    )
    session.execute(
        insert(ItemRow),
        [
            own
            | {"item": item.number, "kind": item.kind, "layer": item.layer, "unit": item.unit, "shown": item.shown}
            | {"part": item.part}
            for item in layout.items
        ],
    )
    session.execute(insert(ReadingRow), [own | reading for reading in _readings(layout, readers)])
    return row


def _readings(layout: Layout, readers: Sequence[Reader]) -> list[dict[str, object]]:
    """The rows of all readings. The slots of an item are numbered as its readers come."""
    slots = [0] * len(layout.items)
    rows: list[dict[str, object]] = []
    for reader, places in zip(readers, layout.lists, strict=True):
        for position, place in enumerate(places, 1):
            rows.append(
                {
                    "reading_id": f"reading-{secrets.token_hex(10)}",
                    "item": place.item,
                    "slot": slots[place.item],
                    "reader_id": reader.reader_id,
                    "position": position,
                    "is_repeat": place.is_repeat,
                    "state": "waiting",
                    "answer_version": 0,
                }
            )
            slots[place.item] += 1
    return rows


def _view(session: Session, row: ProtocolRow) -> ProtocolView:
    key = row.study_id, row.version
    counts = queries.counts_by_reader(session, [key])
    counts_of_items = queries.item_counts(session, key)
    readers = []
    for reader, name in queries.protocol_readers(session, key):
        readings, answered, skipped = counts.get((*key, reader.reader_id), (0, 0, 0))
        readers.append(
            ReaderProgress(
                pseudonym=reader.pseudonym,
                name=name,
                readings=readings,
                answered=answered,
                skipped=skipped,
                active=reader.active,
            )
        )
    return ProtocolView(
        study_id=row.study_id,
        version=row.version,
        sha256=row.sha256,
        title=row.title,
        state="open" if row.closed is None else "closed",
        units=counts_of_items.units,
        shams=counts_of_items.shams,
        split=counts_of_items.split,
        opened=row.opened,
        closed=row.closed,
        document=ProtocolDocument.model_validate_json(row.document),
        readers=readers,
    )
