"""Chain codes become the polygons that they were made of, whatever dirt is in them."""

import numpy as np
import pytest

from services.training.raw.layouts.ddsm.chain_code import (
    OPEN,
    PASSES_START,
    RETURNS_EARLY,
    Chain,
    closed,
    corners,
    first_index,
    path_of,
)
from tests.fakes.raw.ddsm import BOX, DIAMOND, OCTAGON, TO_THE_EDGES, Polygon, codes_of

POLYGONS = (OCTAGON, DIAMOND, BOX, TO_THE_EDGES)


def chain_of(polygon: Polygon, before: str = "", after: str = "", first: int = 0) -> Chain:
    """The chain of a polygon, with codes before and after it."""
    row, column = polygon[0]
    return Chain(int(column) + first, int(row) + first, before + codes_of(polygon) + after)


def test_codes_are_steps_to_the_neighbours() -> None:
    """The eight codes lead around the start, from the pixel above it clockwise."""
    ends = [tuple(path_of(Chain(10, 20, code))[-1]) for code in "01234567"]
    assert ends == [(19, 10), (19, 11), (20, 11), (21, 11), (21, 10), (21, 9), (20, 9), (19, 9)]


@pytest.mark.parametrize("polygon", POLYGONS)
def test_a_clean_chain_gives_its_polygon(polygon: Polygon) -> None:
    """The vertices are the corners, in the order of the chain, and nothing was repaired."""
    loop = closed(path_of(chain_of(polygon)))
    assert (corners(loop.path), loop.repair) == (polygon, "")


@pytest.mark.parametrize("polygon", POLYGONS)
@pytest.mark.parametrize("steps", [1, 5, 12])
def test_a_chain_that_passes_its_start_is_cut_there(polygon: Polygon, steps: int) -> None:
    """Further steps along the same outline do not change the polygon."""
    loop = closed(path_of(chain_of(polygon, after=codes_of(polygon)[:steps])))
    assert (corners(loop.path), loop.repair) == (polygon, PASSES_START)


@pytest.mark.parametrize("polygon", POLYGONS)
@pytest.mark.parametrize("detour", ["26", "2460", "1357"])
def test_a_chain_that_returns_early_keeps_its_largest_loop(polygon: Polygon, detour: str) -> None:
    """A small loop, or a step back and forth, before the outline does not change the polygon."""
    loop = closed(path_of(chain_of(polygon, before=detour)))
    assert (corners(loop.path), loop.repair) == (polygon, RETURNS_EARLY)


def test_a_chain_that_misses_its_start_is_cut_where_it_crosses_itself() -> None:
    """A lead-in before the outline and an end beyond it leave the loop between them."""
    row, column = OCTAGON[0]
    loop = closed(path_of(Chain(int(column) - 3, int(row) + 3, "111" + codes_of(OCTAGON) + "666")))
    assert (corners(loop.path), loop.repair) == (OCTAGON, PASSES_START)


def test_an_open_chain_is_closed_by_a_straight_line() -> None:
    """An outline that ends some steps before its start keeps all its pixels."""
    codes = codes_of(BOX)[:-10]
    row, column = BOX[0]
    loop = closed(path_of(Chain(int(column), int(row), codes)))
    assert loop.repair == OPEN
    assert corners(loop.path) == (*BOX, (55.0, 5.0))


def test_a_missing_last_step_is_no_fault() -> None:
    """An outline that ends next to its start is closed."""
    row, column = BOX[0]
    assert closed(path_of(Chain(int(column), int(row), codes_of(BOX)[:-1]))).repair == ""


def test_a_chain_without_steps_is_a_point() -> None:
    """A speck of one pixel has one vertex."""
    loop = closed(path_of(Chain(3, 4, "")))
    assert (corners(loop.path), loop.repair) == (((4.0, 3.0),), "")


@pytest.mark.parametrize("first", [0, 1])
def test_chains_at_the_edge_show_from_where_they_count(first: int) -> None:
    """Outlines that touch the last row and column read back to the same polygons, counted from 0 or from 1."""
    polygons = (TO_THE_EDGES, DIAMOND)
    paths = [path_of(chain_of(polygon, first=first)) for polygon in polygons]
    found = first_index(paths, 80, 60)
    assert found == first
    assert tuple(corners(closed(path - found).path) for path in paths) == polygons


def test_chains_that_prove_nothing_count_from_0() -> None:
    """A chain in the middle, one that goes beyond the image, and one that touches row 0 as well as the edge."""
    beyond = chain_of(((10, 50), (10, 62), (22, 62), (22, 50)))
    zero = chain_of(((0, 50), (0, 60), (10, 60), (10, 50)))
    assert [first_index([path_of(chain)], 80, 60) for chain in (chain_of(DIAMOND), beyond, zero)] == [0, 0, 0]
    assert first_index([], 80, 60) == 0


def test_random_chains_give_a_closed_polygon() -> None:
    """Whatever the codes are, the loop is part of the path."""
    generator = np.random.default_rng(7)
    for _ in range(200):
        codes = "".join(str(code) for code in generator.integers(0, 8, generator.integers(0, 400)))
        path = path_of(Chain(50, 50, codes))
        pixels = {tuple(pixel) for pixel in path.tolist()}
        loop = closed(path).path
        assert {tuple(pixel) for pixel in loop.tolist()} <= pixels
        assert len(corners(loop)) >= 1
