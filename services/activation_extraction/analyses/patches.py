"""The patches of an analysis: a whole split, or patches that are drawn at random."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from services.activation_extraction.analyses.context import Context
from services.imaging.prefetch import prefetch
from services.imaging.preprocessing import Batch, Preprocessing


def requested_layers(context: Context[Any]) -> dict[str, str]:
    """The layers that the settings name, or else all, from names to module paths. NotFound for a layer that was not
    extracted."""
    requested: tuple[str, ...] = context.settings.layers
    return {name: context.layer(name).module for name in requested or context.layers}


def draw_patches(context: Context[Any]) -> NDArray[np.int64]:
    """The ids of the patches that the settings request, in order. They depend on the ids in the split and on the seed,
    but not on its shards."""
    ids = context.data.ids(context.manifest.split)
    requested: int = context.settings.patches
    if requested == 0 or requested >= len(ids):
        return ids
    return np.sort(np.random.default_rng(context.settings.seed).choice(ids, requested, replace=False))


class PiecePatches:
    """The requested patches that are in one shard of the split."""

    def __init__(self, context: Context[Any], number: int) -> None:
        self._data = context.data
        self._shard = context.data.shards(context.manifest.split)[number]
        drawn = draw_patches(context)
        self._ids = frozenset(drawn[(drawn >= self._shard.first) & (drawn <= self._shard.last)].tolist())

    def __len__(self) -> int:
        return len(self._ids)

    def batches(self, preprocessing: Preprocessing, batch_size: int) -> Iterator[Batch]:
        """The patches in the order of their ids, decoded ahead. The last batch may be smaller."""

        def decode(chunk: list[tuple[int, bytes]]) -> Batch:
            ids = np.array([number for number, _ in chunk])
            pixels = preprocessing.stack([preprocessing.pixels(image, f"patch {number}") for number, image in chunk])
            return Batch(torch.from_numpy(ids), torch.from_numpy(self._data.labels[ids]), torch.from_numpy(pixels))

        stream = self._data.stream(self._shard) if self._ids else iter(())
        chosen = (pair for pair in stream if pair[0] in self._ids)
        return prefetch(decode, iter(lambda: list(islice(chosen, batch_size)), []))
