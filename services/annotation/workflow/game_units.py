"""The units of a game: which there are, how they are described, who has described them, and their ranked patches."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from services.annotation import game_queries as queries
from services.annotation import repository
from services.annotation.game_queries import UnitPlace
from services.annotation.games.descriptions import description_of
from services.annotation.games.document import GameDocument, GameItem, Player
from services.annotation.games.draw import LayerUnits, pseudonym
from services.annotation.picture import decode_pictures
from services.annotation.protocol.document import ProtocolDocument
from services.annotation.protocol_queries import protocol_readers
from services.annotation.tables import ProtocolRow, StudyRow
from services.annotation.unit_labels import adjudicators, labels_with_readings
from services.annotation.workflow.protocols import choose_units
from services.common.errors import Conflict, InvalidInput


@dataclass(frozen=True)
class GameUnits:
    """The units of a game, and who knows them."""

    items: tuple[GameItem, ...]
    left_out: int
    authors: dict[UnitPlace, set[str]] = field(default_factory=dict)
    """The readers who have given the description of a unit, by their ids."""

    def players(self, session: Session, study_id: str, reader_ids: Sequence[str]) -> tuple[Player, ...]:
        """What each reader knows. A reader who is new to the service has an empty id, and knows nothing."""
        read = queries.read_units(session, study_id, {reader_id for reader_id in reader_ids if reader_id})
        return tuple(
            Player(
                pseudonym=pseudonym(number),
                known=self._items_of(read.get(reader_id, set()), reader_id, alone=False),
                alone=self._items_of(set(), reader_id, alone=True),
            )
            for number, reader_id in enumerate(reader_ids)
        )

    def _items_of(self, read: set[UnitPlace], reader_id: str, alone: bool) -> tuple[int, ...]:
        found = []
        for number, item in enumerate(self.items):
            place, authors = (item.layer, item.unit), self.authors.get((item.layer, item.unit), set())
            if authors == {reader_id} if alone else place in read or reader_id in authors:
                found.append(number)
        return tuple(found)


def choose_items(session: Session, study: StudyRow, protocol: ProtocolRow, document: GameDocument) -> GameUnits:
    """The units of a game; in predict-the-unit those that have a description. InvalidInput if there is none."""
    places = queries.protocol_units(session, (protocol.study_id, protocol.version))
    if document.units is not None:
        places = sorted(choose_units(session, study, document.units))
    if document.kind == "intruder":
        if not places:
            raise InvalidInput(f"the game chooses no unit of study {study.study_id} that can be shown")
        return GameUnits(tuple(GameItem(layer=layer, unit=unit) for layer, unit in places), 0)
    described = describe_units(session, protocol)
    found = [place for place in places if place in described]
    if not found:
        raise InvalidInput(
            f"of the {len(places)} units of the game, none has a description: terms or text in the labels of version "
            f"{protocol.version} of the protocol"
        )
    items = tuple(GameItem(layer=layer, unit=unit, description=described[layer, unit][0]) for layer, unit in found)
    return GameUnits(items, len(places) - len(found), {place: described[place][1] for place in found})


def describe_units(session: Session, protocol: ProtocolRow) -> dict[UnitPlace, tuple[str, set[str]]]:
    """The units of a protocol that have a description, each with the readers who have given it. The descriptions of a
    unit that was read in two parts are joined. Conflict while the protocol is open."""
    if protocol.closed is None:
        raise Conflict(
            f"predict-the-unit needs the labels of the units: close version {protocol.version} of the protocol first"
        )
    key = protocol.study_id, protocol.version
    document = ProtocolDocument.model_validate_json(protocol.document)
    form, vocabulary = document.resolved_questionnaire(), document.resolved_vocabulary()
    ids = {reader.pseudonym: reader.reader_id for reader, _ in protocol_readers(session, key)}
    settled = adjudicators(session, key)
    found: dict[UnitPlace, tuple[str, set[str]]] = {}
    for label, readings in labels_with_readings(session, protocol):
        text = description_of(form, vocabulary, label.answers, [reading.answer or {} for reading in readings])
        by = {settled[label.item]} if label.item in settled else {ids[reading.reader] for reading in readings}
        if text:
            place = label.layer, label.unit
            earlier, authors = found.get(place, ("", set()))
            found[place] = f"{earlier} Or: {text}" if earlier else text, authors | by
    return found


@dataclass
class RankedPatches:
    """The names of the patches of a layer's units, by rank. Each unit is read once."""

    session: Session
    study_id: str
    layer: str
    _read: dict[int, list[str]] = field(default_factory=dict)

    def __call__(self, channel: int) -> list[str]:
        if channel not in self._read:
            row = repository.unit_row(self.session, (self.study_id, self.layer, channel))
            self._read[channel] = [picture.patch for picture in decode_pictures(row.pictures)]
        return self._read[channel]


def layers_of(session: Session, study_id: str, items: Sequence[GameItem]) -> dict[str, LayerUnits]:
    """The layers of a game, from which the patches of trials are drawn."""
    descriptions: defaultdict[str, dict[int, str]] = defaultdict(dict)
    for item in items:
        descriptions[item.layer][item.unit] = item.description
    return {
        layer: LayerUnits(
            layer, queries.channels(session, study_id, layer), RankedPatches(session, study_id, layer), of_layer
        )
        for layer, of_layer in descriptions.items()
    }
