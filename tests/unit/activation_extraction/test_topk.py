"""Top-k against a slow, obvious reference."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from services.activation_extraction.topk import TopK, merge_states, require_finite
from services.common.errors import InvalidInput

# Few distinct values, so that ties are everywhere; all exact in fp16.
VALUES = st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0])


def reference(maps: np.ndarray, ids: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """Sort every unit's patches by (larger maximum, lower id) and keep k; in float64, one at a time."""
    units = maps.shape[1]
    found: dict[str, list[list[object]]] = {"values": [], "ids": [], "positions": [], "maps": []}
    for unit in range(units):
        entries = []
        for row, patch_id in enumerate(ids):
            map_ = maps[row, unit].astype(np.float64)
            entries.append((-map_.max(), int(patch_id), np.unravel_index(map_.argmax(), map_.shape), map_))
        entries.sort(key=lambda entry: entry[:2])
        entries = entries[:k]
        found["values"].append([-entry[0] for entry in entries])
        found["ids"].append([entry[1] for entry in entries])
        found["positions"].append([list(map(int, entry[2])) for entry in entries])
        found["maps"].append([entry[3] for entry in entries])
    return {name: np.array(value) for name, value in found.items()}


def state_of(maps: np.ndarray, ids: np.ndarray, k: int, cuts: list[int]) -> dict[str, torch.Tensor]:
    """The state after adding the maps in batches that end at `cuts`."""
    top = TopK(k)
    for first, last in zip([0, *cuts], [*cuts, len(ids)], strict=True):
        if first < last:
            top.add(torch.from_numpy(maps[first:last]), torch.from_numpy(ids[first:last]))
    return top.state_dict()


def assert_same(state: dict[str, torch.Tensor], expected: dict[str, np.ndarray]) -> None:
    for name, value in expected.items():
        np.testing.assert_array_equal(state[name].numpy().astype(np.float64), value, err_msg=name)


cases = st.tuples(st.integers(1, 12), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3)).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.float32, shape, elements=VALUES),
        st.permutations(range(100, 100 + shape[0])),
        st.integers(1, 15),
        st.lists(st.integers(0, shape[0]), max_size=4).map(sorted),
    )
)


@settings(max_examples=150, deadline=None)
@given(cases)
def test_any_batches_give_the_reference(case: tuple[np.ndarray, list[int], int, list[int]]) -> None:
    """Values, ids, positions and maps equal the reference, with ties, negative units, k > n, any order and batches."""
    maps, ids, k, cuts = case
    assert_same(state_of(maps, np.array(ids), k, cuts), reference(maps, np.array(ids), k))


@settings(max_examples=100, deadline=None)
@given(cases, st.randoms(use_true_random=False))
def test_merging_in_any_order_gives_the_same_bytes(
    case: tuple[np.ndarray, list[int], int, list[int]], random: object
) -> None:
    """States of parts merge, in any order and grouping, to the state of the whole."""
    maps, ids, k, cuts = case
    ends = sorted({*cuts, len(ids)} - {0})
    parts = [
        state_of(maps[first:last], np.array(ids)[first:last], k, [])
        for first, last in zip([0, *ends[:-1]], ends, strict=True)
    ]
    whole = state_of(maps, np.array(ids), k, [])
    random.shuffle(parts)  # type: ignore[attr-defined]
    at_once = merge_states(parts, k)
    pairwise = parts[0]
    for part in parts[1:]:
        pairwise = merge_states([part, pairwise], k)
    for name, value in whole.items():
        assert torch.equal(at_once[name], value), name
        assert torch.equal(pairwise[name], value), name


def test_the_maxima_of_a_batch_are_returned() -> None:
    """`add` returns the (batch, units) spatial maxima."""
    maps = torch.randn(5, 3, 4, 4)
    assert torch.equal(TopK(2).add(maps, torch.arange(5)), maps.amax((2, 3)))


def test_channels_last_maps_are_read_right() -> None:
    """The memory layout of the maps makes no difference."""
    maps, ids = torch.randn(6, 4, 3, 5), torch.arange(6)
    plain, strided = TopK(4), TopK(4)
    plain.add(maps, ids)
    strided.add(maps.to(memory_format=torch.channels_last), ids)
    for name, value in plain.state_dict().items():
        assert torch.equal(strided.state_dict()[name], value)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_named(bad: float) -> None:
    """NaN or infinity raises InvalidInput that names layer, unit and patch."""
    maxima = torch.zeros(3, 4)
    maxima[1, 2] = bad
    with pytest.raises(InvalidInput, match=r"layer conv5, unit 2: the activation on patch 41 of sample"):
        require_finite(maxima, torch.tensor([40, 41, 42]), "conv5", "sample")
    require_finite(torch.zeros(3, 4), torch.tensor([40, 41, 42]), "conv5", "sample")
