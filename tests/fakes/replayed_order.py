"""A second, independent implementation of the order of reading, written from docs/reader-studies.md alone."""

import hashlib


def replayed(
    seed: int, reader: str, items: list[int], real: set[int], repeats: int, second_parts: frozenset[int] = frozenset()
) -> list[tuple[int, bool]]:
    """The places (item, whether it is a repeat) of one reader, by insertion sort with hexadecimal keys.

    Each of the `second_parts` is inserted after the item with the number before it.
    """

    def hexadecimal(text: str) -> str:
        return hashlib.new("sha256", text.encode("utf-8")).hexdigest()

    order: list[int] = []
    for item in items:
        if item in second_parts:
            continue
        at = 0
        while at < len(order) and hexadecimal(f"{seed}/{reader}/{order[at]}") < hexadecimal(f"{seed}/{reader}/{item}"):
            at += 1
        order.insert(at, item)
    for item in second_parts:
        order.insert(order.index(item - 1) + 1, item)
    half = len(order) // 2
    candidates = [item for item in order[:half] if item in real]
    ranked = sorted(candidates, key=lambda item: hexadecimal(f"{seed}/{reader}/{item}/repeat"))[:repeats]
    chosen = [item for item in candidates if item in ranked]
    second = [(item, False) for item in order[half:]]
    result = [(item, False) for item in order[:half]]
    inserted = [(len(second) * (k + 1) // (len(chosen) + 1), (item, True)) for k, item in enumerate(chosen)]
    for at, place in enumerate(second):
        result += [again for where, again in inserted if where == at]
        result.append(place)
    return result + [again for where, again in inserted if where >= len(second)]
