"""The design of a study: which readers read which unit.

A balanced incomplete block design has the same number of readers for every unit, of units for every reader, and of
common units for every pair of readers. It exists only for some numbers of units, so units are assigned one after the
other to the readers who keep loads and pairs most even.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt

from services.common.errors import InvalidInput

MOST_BLOCKS = 2000
"""Groups of readers that are compared for each unit. With more possible groups, readers are chosen one by one."""
EXCHANGES = 40_000
"""Exchanges of readers between two units that are tried."""

Counts = npt.NDArray[np.int64]
Blocks = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Design:
    """The readers of each unit, as indices, and how even the design is."""

    readers: int
    blocks: Blocks
    """By unit: its readers, ascending."""
    loads: tuple[int, ...]
    """By reader: the number of units."""
    fewest_shared: int
    """The smallest number of units that a pair of readers has in common."""
    most_shared: int


def balanced_design(units: int, readers: int, readers_per_unit: int) -> Design:
    """Assign units to readers. Loads differ by one at most, and the shared units of pairs are as even as the greedy
    choice finds. The design depends on nothing but the three numbers.

    InvalidInput if a unit needs more readers than there are.
    """
    if not 1 <= readers_per_unit <= readers:
        raise InvalidInput(
            f"each unit is to be read by {readers_per_unit} readers; the study has {readers}, so it is 1 to {readers}"
        )
    pairs = np.zeros((readers, readers), np.int64)
    loads = np.zeros(readers, np.int64)
    choose = _whole_blocks if comb(readers, readers_per_unit) <= MOST_BLOCKS else _one_by_one
    blocks = _even_out(choose(units, readers_per_unit, loads, pairs), pairs)
    shared = pairs[np.triu_indices(readers, 1)] if readers > 1 else np.zeros(1, np.int64)
    return Design(
        readers,
        blocks,
        tuple(int(load) for load in loads),
        fewest_shared=int(shared.min()),
        most_shared=int(shared.max()),
    )


def _whole_blocks(units: int, size: int, loads: Counts, pairs: Counts) -> Blocks:
    """Choose for each unit, among all groups of readers, the one with the least loads, and of these the one whose pairs
    share the fewest units; of equal ones the least used, then the first."""
    groups = np.array(list(combinations(range(len(loads)), size)))
    ends = np.array(list(combinations(range(size), 2)), np.int64).reshape(-1, 2)
    used = np.zeros(len(groups), np.int64)
    chosen = []
    for _ in range(units):
        worst = loads[groups].max(axis=1)
        load = loads[groups].sum(axis=1)
        shared = pairs[groups[:, ends[:, 0]], groups[:, ends[:, 1]]]
        squares = (2 * shared + 1).sum(axis=1)
        best = int(np.lexsort((used, squares, load, worst))[0])
        used[best] += 1
        chosen.append(_record(groups[best], loads, pairs))
    return tuple(chosen)


def _one_by_one(units: int, size: int, loads: Counts, pairs: Counts) -> Blocks:
    """Choose the readers of each unit one after the other: least load first, then the fewest units shared with those
    already chosen."""
    chosen = []
    for _ in range(units):
        group: list[int] = []
        shared = np.zeros(len(loads), np.int64)
        free = np.ones(len(loads), bool)
        for _ in range(size):
            order = np.lexsort((shared, loads))
            reader = int(order[free[order]][0])
            group.append(reader)
            free[reader] = False
            shared = shared + pairs[reader]
        chosen.append(_record(np.array(sorted(group)), loads, pairs))
    return tuple(chosen)


def _record(group: Sequence[int] | Counts, loads: Counts, pairs: Counts) -> tuple[int, ...]:
    """Count a unit that a group of readers reads."""
    readers = tuple(int(reader) for reader in group)
    for reader in readers:
        loads[reader] += 1
    for one, other in combinations(readers, 2):
        pairs[one, other] += 1
        pairs[other, one] += 1
    return readers


def _even_out(blocks: Blocks, pairs: Counts) -> Blocks:
    """Exchange readers between units while that does not make pairs less even. Loads stay as they are."""
    if len(blocks) < 2 or len(blocks[0]) < 2 or len(pairs) == len(blocks[0]):
        return blocks
    chance = random.Random(1)
    groups = [list(block) for block in blocks]
    shared = pairs.tolist()
    for _ in range(EXCHANGES):
        one, other = chance.sample(range(len(groups)), 2)
        a, b = chance.choice(groups[one]), chance.choice(groups[other])
        if a in groups[other] or b in groups[one]:
            continue
        mates_a = [reader for reader in groups[one] if reader != a]
        mates_b = [reader for reader in groups[other] if reader != b]
        if _exchange(shared, (a, mates_a), (b, mates_b)):
            groups[one], groups[other] = [*mates_a, b], [*mates_b, a]
    pairs[:] = shared
    return tuple(tuple(sorted(group)) for group in groups)


def _exchange(shared: list[list[int]], one: tuple[int, list[int]], other: tuple[int, list[int]]) -> bool:
    """Exchange two readers with their mates if the sum of squares of the shared units does not grow."""
    (a, mates_a), (b, mates_b) = one, other
    changes = [(a, mate, -1) for mate in mates_a] + [(b, mate, -1) for mate in mates_b]
    changes += [(b, mate, 1) for mate in mates_a] + [(a, mate, 1) for mate in mates_b]
    growth = 0
    for reader, mate, step in changes:
        growth += 2 * step * shared[reader][mate] + 1
        shared[reader][mate] += step
        shared[mate][reader] += step
    if growth <= 0:
        return True
    for reader, mate, step in changes:
        shared[reader][mate] -= step
        shared[mate][reader] -= step
    return False
