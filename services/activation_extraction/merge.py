"""Merges the states of shards into the state of a layer: the same bytes for any order of the shards."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.activation_extraction.topk import rank_order
from services.imaging.tensors import Tensors


def merge_top(states: Sequence[Tensors], layer: str, k: int) -> dict[str, Tensor]:
    """The state of the top patches, as one pass over all patches would compute it. Only the maps that are retained are
    read."""
    columns = {name: _join(states, f"{layer}/{name}") for name in ("values", "ids", "positions")}
    order = rank_order(columns["values"], columns["ids"])[:, :k]
    unit = torch.arange(len(order))[:, None]
    merged = {name: value[unit, order].contiguous() for name, value in columns.items()}
    return merged | {"maps": _top_maps(states, f"{layer}/maps", order)}


def merge_histogram(states: Sequence[Tensors], layer: str) -> NDArray[np.int64]:
    """The sum of the (units, bins) counts."""
    total: NDArray[np.int64] = np.sum([state.all(f"{layer}/histogram") for state in states], axis=0, dtype=np.int64)
    return total


def merge_sample(states: Sequence[Tensors], layer: str) -> dict[str, Tensor]:
    """The ids (s,), values (units, s) and maps (units, s, height, width) of the sample patches, by patch id."""
    ids = torch.from_numpy(np.concatenate([state.all(f"{layer}/sample_ids") for state in states]))
    order = ids.argsort()
    parts = {name: _join(states, f"{layer}/sample_{name}") for name in ("values", "maps")}
    return {"ids": ids[order]} | {name: value[:, order].contiguous() for name, value in parts.items()}


def _join(states: Sequence[Tensors], name: str) -> Tensor:
    """A tensor of all states, joined along the second axis."""
    return torch.from_numpy(np.concatenate([state.all(name) for state in states], 1))


def _top_maps(states: Sequence[Tensors], name: str, order: Tensor) -> Tensor:
    """The maps at the columns `order` (units, k) of the joined maps of all states."""
    height, width = states[0].shape(name)[2:]
    maps = np.empty((*order.shape, height, width), dtype=np.float16)
    first = 0
    for state in states:
        last = first + state.shape(name)[1]
        inside = ((order >= first) & (order < last)).numpy()
        for unit, ranks in enumerate(inside):
            # A state is in rank order itself, so the entries that are retained are its first ones.
            if count := int(ranks.sum()):
                maps[unit, ranks] = state.first_entries(name, unit, count)
        first = last
    return torch.from_numpy(maps)
