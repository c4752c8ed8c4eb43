"""A histogram of the activations of each unit, over positions of all its maps. Histograms merge by addition."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BINS = 4096
_CODES_PER_BIN = 65536 // BINS
PENDING = 1 << 22
"""Activations that are collected before they are counted."""
POSITIONS_PER_UNIT = 1 << 15
"""Positions that are counted for each unit over a split, about. A share of 0.5% of them then has a relative error of
8%."""
MIN_POSITIONS = 4
"""Positions that are counted in each map, at least."""


def positions_per_map(patches: int) -> int:
    """The number of positions that are counted in each map of a split of this many patches. A smaller map is counted
    completely."""
    return max(MIN_POSITIONS, math.ceil(POSITIONS_PER_UNIT / patches))


class ActivationHistogram:
    """Counts (units, BINS) of a layer's activations at some positions of each map.

    The bins are float16 numbers in rising order, 16 per bin, so over the full range a bin is about 1.6% of its
    activation wide. The positions of a map are evenly spaced, and the patch id determines the first one. All units of a
    layer use the same positions.
    """

    def __init__(self, positions: int) -> None:
        self._positions = positions
        self._counts: Tensor | None = None
        self._pending: list[Tensor] = []

    def add(self, maps: Tensor, ids: Tensor) -> None:
        """Add (batch, units, height, width) maps and the (batch,) ids of their patches."""
        _, units, height, width = maps.shape
        if self._counts is None:
            self._counts = torch.zeros(units, BINS, dtype=torch.int64, device=maps.device)
        positions = counted_positions(ids.to(maps.device), height * width, self._positions)
        row = torch.arange(len(maps), device=maps.device)[:, None]
        counted = maps.flatten(2)[row, :, positions]  # (batch, positions, units)
        self._pending.append(_code_of(counted).flatten(0, 1))
        if sum(part.numel() for part in self._pending) >= PENDING:
            self._count()

    @torch.inference_mode()
    def state(self) -> Tensor:
        """The counts on the CPU, (units, BINS) in int32."""
        self._count()
        assert self._counts is not None, "nothing was added"
        rising = torch.empty_like(self._counts)
        rising[:, _bin_of_code().to(rising.device)] = self._counts
        return rising.to(torch.int32).cpu()

    def _count(self) -> None:
        if not self._pending or self._counts is None:
            return
        codes = torch.cat(self._pending).T.to(torch.int32)
        self._pending.clear()
        units = len(self._counts)
        # Unit by unit, so that the counts in use stay in the processor's cache.
        codes += torch.arange(units, dtype=torch.int32, device=codes.device)[:, None] * BINS
        self._counts += torch.bincount(codes.flatten(), minlength=units * BINS).view(units, BINS)


def counted_positions(ids: Tensor, size: int, positions: int) -> Tensor:
    """(batch, min(positions, size)) positions in flattened maps of `size`. A patch id always has the same positions."""
    count = min(positions, size)
    steps = torch.arange(count, device=ids.device) * size // count
    first = (ids.to(torch.int64) * 2654435761) % (1 << 32) % size
    return (first[:, None] + steps) % size


def _code_of(values: Tensor) -> Tensor:
    """The upper bits of each value in float16, which identify its bin. Negative zero counts as zero."""
    return ((values.half() + 0.0).view(torch.int16) >> 4) & (BINS - 1)


def _bin_of_code() -> Tensor:
    """The (BINS,) index of each code's bin in rising order. The codes of negative numbers rise as the numbers fall.
    Values beyond the range of float16 are counted in the last bin of that range."""
    codes = torch.arange(BINS)
    half = BINS // 2
    return torch.where(codes < half, half + codes, BINS - 1 - codes)


def bin_edges() -> NDArray[np.float64]:
    """The (BINS + 1,) activations at which bins begin, and at which the last bin ends."""
    codes = np.arange(BINS + 1) * _CODES_PER_BIN - 32768
    edges = np.empty(BINS + 1)
    positive = codes >= 0
    edges[positive] = codes[positive].clip(max=0x7BFF).astype(np.uint16).view(np.float16)
    edges[~positive] = -((-1 - codes[~positive]).clip(max=0x7BFF).astype(np.uint16).view(np.float16).astype(np.float64))
    return edges


def thresholds(counts: NDArray[np.int64], tails: Sequence[float]) -> NDArray[np.float64]:
    """The (units, tails) activations that each share of the counted positions exceeds, interpolated linearly within a
    bin."""
    edges = bin_edges()
    above = counts[:, ::-1].cumsum(1)[:, ::-1]  # (units, BINS): the counts of a bin and of all bins above it
    found = np.empty((len(counts), len(tails)))
    units = np.arange(len(counts))
    for column, tail in enumerate(tails):
        wanted = tail * above[:, 0]
        bin_ = (above >= wanted[:, None]).sum(1) - 1  # the highest bin with at least `wanted` counts from it upwards
        beyond = above[units, bin_] - counts[units, bin_]
        share = (wanted - beyond) / np.maximum(counts[units, bin_], 1)
        low, high = edges[bin_], edges[bin_ + 1]
        found[:, column] = high - share.clip(0, 1) * (high - low)
    return found
