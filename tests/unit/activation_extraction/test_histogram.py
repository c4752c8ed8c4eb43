"""Counts of activations and their thresholds, compared with sorting all activations."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from services.activation_extraction.histogram import (
    BINS,
    ActivationHistogram,
    bin_edges,
    counted_positions,
    positions_per_map,
    thresholds,
)

FINITE = st.floats(-60000, 60000, width=32)


def counted(maps: np.ndarray, ids: np.ndarray, positions: int, cuts: list[int]) -> torch.Tensor:
    """The counts after adding the maps in batches that end at `cuts`."""
    histogram = ActivationHistogram(positions)
    for first, last in zip([0, *cuts], [*cuts, len(ids)], strict=True):
        if first < last:
            histogram.add(torch.from_numpy(maps[first:last]), torch.from_numpy(ids[first:last]))
    return histogram.state()


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 9), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)),
        elements=FINITE,
    ),
    st.data(),
)
def test_thresholds_are_in_the_bin_of_the_exact_quantile(maps: np.ndarray, data: st.DataObject) -> None:
    """If all positions are counted, a threshold is at most one bin from the exact quantile, for any batches, also with
    negative activations and ties."""
    ids = np.arange(len(maps))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(maps)), max_size=3)))
    counts = counted(maps, ids, 100, cuts)
    assert torch.equal(counts, counted(maps, ids, 100, []))
    tails = (0.5, 0.1, 0.005)
    edges = bin_edges()
    for unit, found in enumerate(thresholds(counts.numpy(), tails)):
        values = np.sort(maps[:, unit].astype(np.float16).astype(np.float64).ravel())[::-1]
        for tail, threshold in zip(tails, found, strict=True):
            exact = values[min(int(np.ceil(tail * len(values))), len(values)) - 1]
            low = np.searchsorted(edges, exact, "right") - 1
            assert edges[max(low - 1, 0)] <= threshold <= edges[min(low + 1, BINS)], (exact, threshold)


@example(np.array([0.0, -0.0], np.float16))
@given(hnp.arrays(np.float16, st.integers(2, 40), elements=st.floats(-65504, 65504, width=16)))
def test_bins_rise_with_values(values: np.ndarray) -> None:
    """A larger value never has a lower bin, and every value is between the edges of its bin."""
    ordered = np.sort(values)
    counts = counted(ordered.astype(np.float32).reshape(1, -1, 1, 1), np.array([0]), 1, [])  # one unit per value
    assert (counts.sum(1) == 1).all()
    bins = counts.argmax(1).numpy()
    assert (np.diff(bins) >= 0).all()
    edges = bin_edges()
    wide = ordered.astype(np.float64)
    assert ((edges[bins] <= wide) & (wide <= edges[bins + 1])).all()


def test_edges_are_narrow() -> None:
    """From 0.001 on, the width of a bin is at most 1.6 % of its activation."""
    edges = bin_edges()
    assert (np.diff(edges) >= 0).all()
    high = edges[1:][edges[:-1] >= 0.001]
    low = edges[:-1][edges[:-1] >= 0.001]
    assert ((high - low) / high).max() < 0.016


@pytest.mark.parametrize(("size", "positions"), [(169, 32), (9, 32), (3025, 4), (1, 4)])
def test_positions_are_spread_and_determined_by_the_patch(size: int, positions: int) -> None:
    """Each map has the requested number of different positions. A patch always has the same ones, whatever else is in
    its batch. Over many patches, all positions are counted about equally often."""
    ids = torch.arange(3000)
    found = counted_positions(ids, size, positions)
    assert found.shape == (3000, min(positions, size))
    assert all(len(set(row)) == len(row) for row in found[:50].tolist())
    assert torch.equal(counted_positions(ids[7:8], size, positions)[0], found[7])
    times = torch.bincount(found.flatten(), minlength=size).float()
    assert times.max() < 2 * max(times.mean(), 12)


def test_a_split_has_enough_positions() -> None:
    """A small split has enough positions in total, and a large one at least 4 in each map."""
    assert positions_per_map(100) * 100 >= 1 << 15
    assert positions_per_map(1_000_000) == 4


def test_some_positions_are_enough_for_thresholds() -> None:
    """With 32 of 169 positions of 2,048 maps, the share above the threshold for 0.5 % is between 0.4 % and 0.6 %."""
    maps = torch.randn(2048, 3, 13, 13, generator=torch.Generator().manual_seed(1))
    histogram = ActivationHistogram(32)
    for first in range(0, 2048, 256):
        histogram.add(maps[first : first + 256], torch.arange(first, first + 256))
    found = torch.from_numpy(thresholds(histogram.state().numpy(), (0.005,)))
    shares = (maps > found.view(1, 3, 1, 1)).float().mean((0, 2, 3))
    assert ((shares - 0.005).abs() < 0.001).all()
