"""Designs: every unit has the same number of readers, loads are even, and pairs of readers share even numbers."""

from collections import Counter
from itertools import combinations

import pytest

from services.annotation.protocol.design import balanced_design
from services.common.errors import InvalidInput


@pytest.mark.parametrize(
    ("units", "readers", "size", "shared"),
    [(7, 7, 3, 1), (10, 5, 3, 3), (30, 6, 3, 6), (100, 5, 2, 10), (35, 15, 3, 1), (12, 4, 2, 2), (9, 3, 3, 9)],
)
def test_a_balanced_incomplete_block_design_is_found(units: int, readers: int, size: int, shared: int) -> None:
    """Where such a design is known to exist, every pair of readers shares exactly the same number of units."""
    design = balanced_design(units, readers, size)
    assert design.fewest_shared == design.most_shared == shared
    assert len(set(design.loads)) == 1


@pytest.mark.parametrize(
    ("units", "readers", "size"), [(200, 50, 3), (2000, 50, 3), (26, 13, 4), (5, 4, 1), (1, 1, 1), (33, 7, 5)]
)
def test_any_design_is_even(units: int, readers: int, size: int) -> None:
    """Each unit has exactly the requested number of different readers, loads differ by one at most, and what the
    design says about pairs is true."""
    design = balanced_design(units, readers, size)
    assert len(design.blocks) == units
    assert all(len(set(block)) == size and list(block) == sorted(block) for block in design.blocks)
    loads = Counter(reader for block in design.blocks for reader in block)
    assert tuple(loads[reader] for reader in range(readers)) == design.loads
    assert max(design.loads) - min(design.loads) <= 1
    shared = Counter(pair for block in design.blocks for pair in combinations(block, 2))
    numbers = [shared[pair] for pair in combinations(range(readers), 2)] or [0]
    assert (min(numbers), max(numbers)) == (design.fewest_shared, design.most_shared)


def test_a_design_is_the_same_each_time() -> None:
    """A preview and the protocol that is opened after it have the same design."""
    assert balanced_design(60, 9, 4) == balanced_design(60, 9, 4)


@pytest.mark.parametrize("size", [0, 4])
def test_a_unit_cannot_have_more_readers_than_there_are(size: int) -> None:
    """The error names both numbers."""
    with pytest.raises(InvalidInput, match=f"by {size} readers; the study has 3"):
        balanced_design(5, 3, size)
