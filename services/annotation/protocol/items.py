"""The items of a study: its units and, between them, sham units."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from services.common.errors import InvalidInput

Parts = tuple[tuple[int, ...], tuple[int, ...]]
"""The ranks of the pictures of a unit in two groups; the first group has the strongest."""


class Shown(NamedTuple):
    """A picture of an item: the picture of this rank (from 1) of a unit of the item's layer."""

    unit: int
    rank: int


@dataclass(frozen=True)
class Item:
    """What readers judge. A sham has no unit: its patches belong to different units of the layer. `part` is 1 or 2 if
    the unit is read in two parts."""

    number: int
    kind: str
    layer: str
    unit: int | None
    shown: tuple[Shown, ...]
    part: int | None = None


def unit_items(units: Sequence[tuple[str, int]], pictures: Mapping[tuple[str, int], int], patches: int) -> list[Item]:
    """An item for each unit (layer, channel), with its first `patches` pictures. `pictures` counts those it has."""
    return [
        Item(
            number,
            "unit",
            layer,
            unit,
            tuple(Shown(unit, rank + 1) for rank in range(min(patches, pictures[layer, unit]))),
        )
        for number, (layer, unit) in enumerate(units)
    ]


def split_items(units: Sequence[Item], groups: Mapping[tuple[str, int], Parts], patches: int) -> list[Item]:
    """The items with two items, one after the other, in place of each unit (layer, channel) that has two groups of
    ranks. Each has the first `patches` pictures of its group. They are numbered again."""
    found: list[Item] = []
    for item in units:
        assert item.unit is not None
        parts = groups.get((item.layer, item.unit))
        for part, ranks in enumerate(parts or (), 1):
            shown = tuple(Shown(item.unit, rank) for rank in ranks[:patches])
            found.append(replace(item, number=len(found), shown=shown, part=part))
        if parts is None:
            found.append(replace(item, number=len(found)))
    return found


def sham_items(real: Sequence[Item], count: int, seed: int, read: Sequence[Item] = ()) -> list[Item]:
    """Sham units, numbered after the real ones. The layers take turns.

    If units are read in parts, `read` has the items that are read, `real` the whole units: then a sham has as many
    pictures as some item that is read, chosen by SHA-256 over `SEED/sham/NUMBER/length`. Otherwise the
    number of pictures would reveal shams.

    The picture of rank k in a sham is the picture of rank k of some unit, so that a sham has the activations of a real
    unit, and no two of its pictures are of one unit as long as the layer has enough units. The units are chosen by
    SHA-256 over `SEED/sham/NUMBER/UNIT`, in ascending order.

    InvalidInput if no layer has two units.
    """
    by_layer: dict[str, list[Item]] = {}
    for item in real:
        by_layer.setdefault(item.layer, []).append(item)
    layers = [layer for layer, items in by_layer.items() if len(items) >= 2]
    if count and not layers:
        raise InvalidInput("a sham unit mixes patches of several units, and no layer of this protocol has two units")
    shams = []
    for at in range(count):
        layer = layers[at % len(layers)]
        number = len(read or real) + at
        units = sorted(by_layer[layer], key=lambda item: _key(f"{seed}/sham/{number}/{item.unit}"))
        length = max(len(item.shown) for item in units)
        if read:
            like = int.from_bytes(_key(f"{seed}/sham/{number}/length")) % len(read)
            length = min(length, len(read[like].shown))
        shams.append(Item(number, "sham", layer, None, tuple(_mixed(units, length))))
    return shams


def _mixed(units: Sequence[Item], length: int) -> list[Shown]:
    """One picture of each rank, each of the next unit that has one."""
    shown: list[Shown] = []
    for index in range(length):
        candidates = [units[(index + step) % len(units)] for step in range(len(units))]
        found = next((item.shown[index] for item in candidates if len(item.shown) > index), None)
        if found is not None:
            shown.append(found)
    return shown


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
