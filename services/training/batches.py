"""Batches of a split: the same order and the same flips for the same seed and epoch, wherever the run goes on."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from services.imaging.dataset import Dataset, LocalPatches
from services.imaging.prefetch import prefetch
from services.imaging.preprocessing import Batch, Preprocessing


class Batches:
    """The patches of a split, decoded a few batches ahead of the network and kept in memory as far as there is room."""

    def __init__(
        self, dataset: Dataset, patches: LocalPatches, preprocessing: Preprocessing, batch_size: int, cache_bytes: int
    ) -> None:
        self._labels = dataset.labels
        self._name = dataset.manifest.name
        self._patches = patches
        self._preprocessing = preprocessing
        self._batch_size = batch_size
        self._room = cache_bytes // preprocessing.size**2
        self._cache: dict[int, NDArray[np.uint8]] = {}

    def __len__(self) -> int:
        return len(self._bounds())

    def in_order(self) -> Iterator[Batch]:
        """Every patch once, by patch id, unflipped."""
        count = len(self._patches.ids)
        yield from self._prefetch(self._patches.ids, np.zeros((count, 2), dtype=bool), 0)

    def shuffled(self, seed: int, epoch: int, flips: bool, start: int = 0) -> Iterator[Batch]:
        """Every patch once, in the order of this seed and epoch, from batch `start` on."""
        generator = np.random.default_rng((seed, epoch))
        order = generator.permutation(self._patches.ids)
        mirrored = generator.random((len(order), 2)) < 0.5 if flips else np.zeros((len(order), 2), dtype=bool)
        yield from self._prefetch(order, mirrored, start)

    def _bounds(self) -> list[tuple[int, int]]:
        """First and last of each batch. A last batch of one patch joins its neighbour: batch norm needs two."""
        count = len(self._patches.ids)
        starts = list(range(0, count, self._batch_size))
        if len(starts) > 1 and count - starts[-1] == 1:
            starts.pop()
        return list(zip(starts, [*starts[1:], count], strict=True))

    def _prefetch(self, ids: NDArray[np.int64], mirrored: NDArray[np.bool_], start: int) -> Iterator[Batch]:
        return prefetch(
            lambda bounds: self._batch(ids[slice(*bounds)], mirrored[slice(*bounds)]), self._bounds()[start:]
        )

    def _batch(self, ids: NDArray[np.int64], mirrored: NDArray[np.bool_]) -> Batch:
        pixels = np.stack(
            [self._pixels(int(i))[:: 1 - 2 * v, :: 1 - 2 * h] for i, (v, h) in zip(ids, mirrored, strict=True)]
        )
        return Batch(torch.from_numpy(ids), torch.from_numpy(self._labels[ids]), torch.from_numpy(pixels))

    def _pixels(self, patch_id: int) -> NDArray[np.uint8]:
        found = self._cache.get(patch_id)
        if found is None:
            found = self._preprocessing.pixels(self._patches.read(patch_id), f"patch {patch_id} of {self._name}")
            if len(self._cache) < self._room:
                self._cache[patch_id] = found
        return found
