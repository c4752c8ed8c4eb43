"""The order in which a reader reads the items of a study: algorithm `sha256-1`.

The order is written down so that any language can replay it in ten years:

1. The key of an item is SHA-256 over the UTF-8 text `SEED/READER/ITEM`: the seed and the item as decimal numbers, and
   the reader's pseudonym. Items are read in ascending order of their keys, compared as bytes.
2. The items that are read twice are those, among the real units in the first half of the order (of n items, the first
   n // 2), with the smallest keys over `SEED/READER/ITEM/repeat`.
3. Their second readings lie in the second half. Of r repeats, the k-th (from 0, in the order of the first readings) is
   inserted before the item that stands m * (k + 1) // (r + 1) places after the beginning of the second half, which has
   m items; at the end if there is none.
4. If a unit is read in two parts, the key of its second part is that of its first part, which stands before it.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple


class Place(NamedTuple):
    """An item in a reader's order. `is_repeat`: whether the reader has read it before."""

    item: int
    is_repeat: bool


def reading_order(
    seed: int, reader: str, items: Collection[int], first_parts: Mapping[int, int] = MappingProxyType({})
) -> list[int]:
    """The items in the order of one reader. `first_parts` has the first part of each item that is a second one."""
    return sorted(items, key=lambda item: (_key(f"{seed}/{reader}/{first_parts.get(item, item)}"), item))


def with_repeats(seed: int, reader: str, order: Sequence[int], repeatable: Collection[int], count: int) -> list[Place]:
    """The order with `count` second readings of repeatable items; fewer if the first half has fewer of them."""
    half = len(order) // 2
    allowed = set(repeatable)
    first = [item for item in order[:half] if item in allowed]
    chosen = set(sorted(first, key=lambda item: _key(f"{seed}/{reader}/{item}/repeat"))[:count])
    repeats = [item for item in first if item in chosen]
    second = order[half:]
    places = [Place(item, is_repeat=False) for item in order[:half]]
    for at in range(len(second) + 1):
        for k, item in enumerate(repeats):
            if len(second) * (k + 1) // (len(repeats) + 1) == at:
                places.append(Place(item, is_repeat=True))
        if at < len(second):
            places.append(Place(second[at], is_repeat=False))
    return places


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
