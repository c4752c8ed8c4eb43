"""Top patches, compared with a slow and obvious reference."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from services.activation_extraction import topk
from services.activation_extraction.merge import merge_top
from services.activation_extraction.topk import TopK
from tests.fakes.tensors import as_stored

# Few distinct values, so that there are many ties. All are exact in fp16.
VALUES = st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0])


def reference(maps: np.ndarray, ids: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """Sort every unit's patches by larger maximum, then by lower id, and take k, in float64, one at a time."""
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
            add(top, torch.from_numpy(maps[first:last]), torch.from_numpy(ids[first:last]))
    return top.state_dict()


def add(top: TopK, maps: torch.Tensor, ids: torch.Tensor) -> None:
    """Add maps with their maxima."""
    top.add(maps, maps.amax((2, 3)).float(), ids)


def merge(states: list[dict[str, torch.Tensor]], k: int) -> dict[str, torch.Tensor]:
    """Merge states in the form in which they are stored."""
    return merge_top([as_stored(state, "layer/") for state in states], "layer", k)


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
def test_any_batches_lead_to_the_reference(case: tuple[np.ndarray, list[int], int, list[int]]) -> None:
    """Values, ids, positions and maps equal the reference, with ties, negative units, k > n, any order and any
    batches."""
    maps, ids, k, cuts = case
    assert_same(state_of(maps, np.array(ids), k, cuts), reference(maps, np.array(ids), k))


@settings(max_examples=100, deadline=None)
@given(cases, st.randoms(use_true_random=False))
def test_merging_in_any_order_leads_to_the_same_bytes(
    case: tuple[np.ndarray, list[int], int, list[int]], random: object
) -> None:
    """The states of parts merge, in any order and grouping, to the state of all patches."""
    maps, ids, k, cuts = case
    ends = sorted({*cuts, len(ids)} - {0})
    parts = [
        state_of(maps[first:last], np.array(ids)[first:last], k, [])
        for first, last in zip([0, *ends[:-1]], ends, strict=True)
    ]
    uncut = state_of(maps, np.array(ids), k, [])
    random.shuffle(parts)  # type: ignore[attr-defined]
    together = merge(parts, k)
    pairwise = parts[0]
    for part in parts[1:]:
        pairwise = merge([part, pairwise], k)
    for name, value in uncut.items():
        assert torch.equal(together[name], value), name
        assert torch.equal(pairwise[name], value), name


def test_channels_last_maps_lead_to_the_same_state() -> None:
    """The state does not depend on the memory layout of the maps."""
    maps, ids = torch.randn(6, 4, 3, 5), torch.arange(6)
    plain, strided = TopK(4), TopK(4)
    add(plain, maps, ids)
    add(strided, maps.to(memory_format=torch.channels_last), ids)
    for name, value in plain.state_dict().items():
        assert torch.equal(strided.state_dict()[name], value)


def test_the_bound_on_pending_maps_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state is the same if only one map at a time may be pending."""
    generator = torch.Generator().manual_seed(3)
    maps, ids = torch.randn(60, 5, 4, 4, generator=generator), torch.randperm(60, generator=generator)
    unbounded = TopK(7)
    add(unbounded, maps, ids)
    monkeypatch.setattr(topk, "PENDING_BYTES", {"cpu": 1})
    bounded = TopK(7)
    for batch, some in zip(maps.split(9), ids.split(9), strict=True):
        add(bounded, batch, some)
        assert sum(len(entries.unit) for entries in bounded._pending) == 0
    for name, value in unbounded.state_dict().items():
        assert torch.equal(bounded.state_dict()[name], value), name


def test_maps_are_clamped_to_the_range_of_fp16() -> None:
    """A value beyond the range of float16 is exact in `values` and clamped in its map. The order is that of float32."""
    maps = torch.tensor([70000.0, 90000.0, -1e6]).view(3, 1, 1, 1)
    top = TopK(3)
    add(top, maps, torch.arange(3))
    state = top.state_dict()
    assert state["values"].tolist() == [[90000.0, 70000.0, -1e6]]
    assert state["maps"].flatten().tolist() == [65504.0, 65504.0, -65504.0]
