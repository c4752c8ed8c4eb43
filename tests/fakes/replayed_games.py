"""A second, independent implementation of the draw of games, written from docs/games.md alone."""

import hashlib
from typing import Any

OWN = {"intruder": 4, "prediction": 1}
FOREIGN = {"intruder": 1, "prediction": 3}


def hexadecimal(*parts: object) -> str:
    """The hash of the parts of a text, which are separated by slashes."""
    return hashlib.new("sha256", "/".join(str(part) for part in parts).encode("utf-8")).hexdigest()


def replayed_items(start: tuple[int, str], items: int, known: set[int], alone: set[int], trials: int) -> list[int]:
    """The items of a reader in the order of the trials. `start` is the seed and the pseudonym."""
    order = sorted((hexadecimal(*start, item), item) for item in range(items) if item not in alone)
    new = [item for _, item in order if item not in known]
    old = [item for _, item in order if item in known]
    chosen = (new + old)[:trials]
    return [item for _, item in order if item in chosen]


def ranks_of(kind: str, names: list[str], patches: int) -> list[int]:
    """The ranks from 1 of the patches of a unit that a game may show."""
    everything = range(1, len(names) + 1)
    if kind == "intruder":
        return [rank for rank in everything if rank <= patches]
    return [rank for rank in everything if patches < rank <= patches + 16]


# The units of a layer, their descriptions and the protocol's patches are separate inputs of the documented algorithm.
def replayed_trial(
    start: tuple[int, str, int], kind: str, unit: int, layer: dict[int, list[str]], texts: dict[int, str], patches: int
) -> tuple[list[tuple[int, int]], int]:
    """The patches of a trial (channel, rank) and the place of the right one. `start` also has the item."""
    ranks = ranks_of(kind, layer[unit], patches)
    own = sorted(ranks, key=lambda rank: hexadecimal(*start, "own", rank))[: OWN[kind]]
    shown = [(unit, rank) for rank in own]
    others = sorted(channel for channel in layer if channel != unit)
    foreign: list[tuple[int, int]] = []
    forbidden = list(layer[unit])
    attempt = 0
    while len(foreign) < FOREIGN[kind]:
        digest = hexadecimal(*start, "foreign", attempt)
        attempt += 1
        other = others[int(digest[:16], 16) % len(others)]
        theirs = ranks_of(kind, layer[other], patches)
        same_text = texts.get(unit, "") != "" and texts.get(unit) == texts.get(other)
        if theirs == [] or same_text or other in [channel for channel, _ in foreign]:
            continue
        rank = theirs[int(digest[16:32], 16) % len(theirs)]
        if layer[other][rank - 1] not in forbidden:
            foreign.append((other, rank))
            forbidden.append(layer[other][rank - 1])
    shown = sorted(shown + foreign, key=lambda one: hexadecimal(*start, "place", *one))
    right: Any = (unit, own[0]) if kind == "prediction" else foreign[0]
    return shown, shown.index(right) + 1
