"""How often a layer's units put out which activation, over places of all maps: counts, which merge by addition."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BINS = 4096
_CODES_A_BIN = 65536 // BINS
WAITING = 1 << 22
"""Activations that wait until they are counted."""
PLACES_A_UNIT = 1 << 15
"""Places that are looked at for each unit over a split, about: a share of 0.5% is then known to 8% of itself."""
FEWEST_PLACES = 4
"""Of a map, at least."""


def places_of(patches: int) -> int:
    """Places of each map that are looked at in a split of so many patches; all of them where a map has fewer."""
    return max(FEWEST_PLACES, math.ceil(PLACES_A_UNIT / patches))


class ActivationHistogram:
    """Counts (units, BINS) of a layer's activations at some places of each map.

    Bins are float16 numbers in rising order, 16 to a bin: each is about 1.6% of its activation wide, over the whole
    range. The places of a map lie evenly from a first one that the patch id decides; units share them.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._counts: Tensor | None = None
        self._waiting: list[Tensor] = []

    def add(self, maps: Tensor, ids: Tensor) -> None:
        """Take a (batch, units, height, width) tensor of maps and the (batch,) ids of its patches."""
        _, units, height, width = maps.shape
        if self._counts is None:
            self._counts = torch.zeros(units, BINS, dtype=torch.int64, device=maps.device)
        places = chosen_places(ids.to(maps.device), height * width, self._places)
        row = torch.arange(len(maps), device=maps.device)[:, None]
        chosen = maps.flatten(2)[row, :, places]  # (batch, places, units)
        self._waiting.append(_code_of(chosen).flatten(0, 1))
        if sum(part.numel() for part in self._waiting) >= WAITING:
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
        if not self._waiting or self._counts is None:
            return
        codes = torch.cat(self._waiting).T.to(torch.int32)
        self._waiting.clear()
        units = len(self._counts)
        # Unit by unit, so that the counts at work stay near the processor.
        codes += torch.arange(units, dtype=torch.int32, device=codes.device)[:, None] * BINS
        self._counts += torch.bincount(codes.flatten(), minlength=units * BINS).view(units, BINS)


def chosen_places(ids: Tensor, size: int, places: int) -> Tensor:
    """(batch, min(places, size)) places of flattened maps of `size`, the same for a patch id wherever it stands."""
    count = min(places, size)
    steps = torch.arange(count, device=ids.device) * size // count
    first = (ids.to(torch.int64) * 2654435761) % (1 << 32) % size
    return (first[:, None] + steps) % size


def _code_of(values: Tensor) -> Tensor:
    """The upper bits of each value as float16, which name its bin until all is counted. Zero below zero is zero."""
    return ((values.half() + 0.0).view(torch.int16) >> 4) & (BINS - 1)


def _bin_of_code() -> Tensor:
    """(BINS,): the place of each code among the bins in rising order. Of negative numbers the code rises as they fall;
    what is beyond the range of float16 comes with the last in it."""
    codes = torch.arange(BINS)
    half = BINS // 2
    return torch.where(codes < half, half + codes, BINS - 1 - codes)


def bin_edges() -> NDArray[np.float64]:
    """(BINS + 1,) activations where bins begin; the last is where the last one ends."""
    codes = np.arange(BINS + 1) * _CODES_A_BIN - 32768
    edges = np.empty(BINS + 1)
    positive = codes >= 0
    edges[positive] = codes[positive].clip(max=0x7BFF).astype(np.uint16).view(np.float16)
    edges[~positive] = -((-1 - codes[~positive]).clip(max=0x7BFF).astype(np.uint16).view(np.float16).astype(np.float64))
    return edges


def thresholds(counts: NDArray[np.int64], tails: Sequence[float]) -> NDArray[np.float64]:
    """(units, tails): the activation that each share of all that was counted exceeds, within its bin by proportion."""
    edges = bin_edges()
    above = counts[:, ::-1].cumsum(1)[:, ::-1]  # (units, BINS): how many lie in a bin or above it
    found = np.empty((len(counts), len(tails)))
    units = np.arange(len(counts))
    for column, tail in enumerate(tails):
        wanted = tail * above[:, 0]
        bin_ = (above >= wanted[:, None]).sum(1) - 1  # the highest bin at whose beginning as many lie above
        beyond = above[units, bin_] - counts[units, bin_]
        share = (wanted - beyond) / np.maximum(counts[units, bin_], 1)
        low, high = edges[bin_], edges[bin_ + 1]
        found[:, column] = high - share.clip(0, 1) * (high - low)
    return found
