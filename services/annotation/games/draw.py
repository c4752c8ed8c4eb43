"""The draw of the trials of a game: algorithm `sha256-1`, which docs/games.md describes for other languages.

All texts are hashed with SHA-256 in UTF-8 and begin with `SEED/READER/ITEM`: seed and item as decimal numbers, and the
reader's pseudonym in the game. Keys are compared as bytes. `RANKS` are the ranks of a unit's patches that the game may
show: the first `patches` ones in the intruder game, and at most HELD_OUT after them in predict-the-unit.

1. A reader's items are all except those that this reader alone has described. Those that the reader does not know come
   first, each of the two groups in ascending order of the keys of `SEED/READER/ITEM`. The first `trials` of them are
   played in ascending order of these keys.
2. Own patches: the ranks with the smallest keys of `SEED/READER/ITEM/own/RANK`; four, or one in predict-the-unit.
3. Foreign patches: for A = 0, 1, 2 and so on, the first 8 bytes of the hash of `SEED/READER/ITEM/foreign/A`, as a
   number with the highest byte first and modulo the number of other units, choose one of the layer's other units in
   ascending order of their channels (silent units are left out); the next 8 bytes, modulo the number of its RANKS,
   choose a rank in ascending order. The patch is taken unless the other unit has no RANKS or the same description, or
   has given a patch of this trial already, or unless the unit (at any rank) or this trial has a patch of the same name.
   One is taken, or three in predict-the-unit.
4. The patches are shown in ascending order of the keys of `SEED/READER/ITEM/place/CHANNEL/RANK`.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from services.annotation.games.document import GameKind, Player
from services.annotation.protocol.items import Shown
from services.common.errors import InvalidInput
from services.common.redaction import quoted
from services.imaging.units import unit_name

HELD_OUT = 16
"""Patches of a unit that predict-the-unit may show, from the first that readers of the protocol did not see."""
ATTEMPTS = 10_000
"""Foreign patches that are drawn for one trial before the game is refused."""

PatchNames = Callable[[int], Sequence[str]]
"""The names of the patches of a unit of the layer, by rank."""


class Shape(NamedTuple):
    """How many patches of a trial belong to the unit and to other units, and which kind is right."""

    own: int
    foreign: int
    finds_own: bool

    @property
    def options(self) -> int:
        """The number of patches of a trial."""
        return self.own + self.foreign


SHAPES: dict[GameKind, Shape] = {
    "intruder": Shape(own=4, foreign=1, finds_own=False),
    "prediction": Shape(own=1, foreign=3, finds_own=True),
}


class Trial(NamedTuple):
    """The patches of a trial in their order, and the place of the right one, from 1."""

    shown: tuple[Shown, ...]
    right: int


@dataclass(frozen=True)
class LayerUnits:
    """The units of a layer of which a trial may show patches."""

    layer: str
    channels: Sequence[int]
    """All units that are not silent, ascending."""
    names: PatchNames
    descriptions: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Draw:
    """Draws the trials of one reader."""

    kind: GameKind
    seed: int
    reader: str
    patches: int
    """Patches of a unit that readers of the protocol saw."""

    def items(self, player: Player, items: int, trials: int | None) -> list[int]:
        """The items of the reader, in the order of the trials. InvalidInput if there are fewer than `trials`."""
        known, alone = set(player.known), set(player.alone)
        possible = [item for item in range(items) if item not in alone]
        if not possible or len(possible) < (trials or 0):
            raise InvalidInput(
                f"reader {self.reader} can have {len(possible)} trials; the game requires {trials or 1}. It has "
                f"{items} units, of which {len(alone)} were described by this reader alone"
            )
        chosen = sorted(possible, key=lambda item: (item in known, self._key(str(item))))[:trials]
        return sorted(chosen, key=lambda item: self._key(str(item)))

    def trial(self, item: int, unit: int, layer: LayerUnits) -> Trial:
        """The trial of an item. InvalidInput if the unit or the layer has too few patches."""
        shape = SHAPES[self.kind]
        own = sorted(self._ranks(layer.names(unit)), key=lambda rank: self._key(f"{item}/own/{rank}"))[: shape.own]
        if len(own) < shape.own:
            raise InvalidInput(self._too_few(unit, layer))
        ours = [Shown(unit, rank) for rank in own]
        foreign = self._foreign(item, unit, layer)
        shown = sorted([*ours, *foreign], key=lambda one: self._key(f"{item}/place/{one.unit}/{one.rank}"))
        right = ours[0] if shape.finds_own else foreign[0]
        return Trial(tuple(shown), shown.index(right) + 1)

    def _foreign(self, item: int, unit: int, layer: LayerUnits) -> list[Shown]:
        wanted, own_names = SHAPES[self.kind].foreign, set(layer.names(unit))
        others = [channel for channel in layer.channels if channel != unit]
        taken: dict[Shown, str] = {}
        for attempt in range(ATTEMPTS if others else 0):
            digest = self._key(f"{item}/foreign/{attempt}")
            other = others[_number(digest[:8]) % len(others)]
            names = layer.names(other)
            ranks = self._ranks(names)
            if not ranks or _is_same(layer.descriptions, unit, other):
                continue
            rank = ranks[_number(digest[8:16]) % len(ranks)]
            name = names[rank - 1]
            if name in own_names or name in taken.values() or other in {one.unit for one in taken}:
                continue
            taken[Shown(other, rank)] = name
            if len(taken) == wanted:
                return list(taken)
        raise InvalidInput(
            f"layer {quoted(layer.layer)} has {len(taken)} patches of other units that can be shown with "
            f"{unit_name(unit)}; a trial needs {wanted} of different units, which differ from the patches of the unit"
        )

    def _ranks(self, names: Sequence[str]) -> range:
        """The ranks of a unit's patches that the game may show."""
        if self.kind == "intruder":
            return range(1, min(self.patches, len(names)) + 1)
        return range(self.patches + 1, min(self.patches + HELD_OUT, len(names)) + 1)

    def _too_few(self, unit: int, layer: LayerUnits) -> str:
        found = f"{unit_name(unit)} of layer {quoted(layer.layer)} has {len(layer.names(unit))} patches"
        if self.kind == "intruder":
            return f"{found}, and readers of the protocol see {self.patches}; the intruder game shows 4 of these"
        return (
            f"{found}, and readers of the protocol saw {self.patches}; predict-the-unit needs at least one more. Use "
            "an extraction and a rendering with more patches of each unit, or a protocol with fewer"
        )

    def _key(self, rest: str) -> bytes:
        return hashlib.sha256(f"{self.seed}/{self.reader}/{rest}".encode()).digest()


def pseudonym(number: int) -> str:
    """The pseudonym of a reader of a game, by number from 0: `P01`. It is another one than in the protocol."""
    return f"P{number + 1:02d}"


def _is_same(descriptions: Mapping[int, str], unit: int, other: int) -> bool:
    """Whether two units have the same description, so that nobody could distinguish their patches by it."""
    return bool(descriptions.get(unit)) and descriptions.get(unit) == descriptions.get(other)


def _number(digest: bytes) -> int:
    return int.from_bytes(digest, "big")
