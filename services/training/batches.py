"""Batches of a split, decoded ahead of the network. Each process of a run gets its share of every batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from services.common.errors import InvalidInput
from services.imaging.dataset import Dataset, LocalPatches
from services.imaging.prefetch import prefetch
from services.imaging.preprocessing import Batch, Grey, Preprocessing
from services.training.distributed import Team
from services.training.epoch_order import EpochOrder, order_by_id, order_epoch
from services.training.schemas import RunSettings

Bounds = tuple[int, int]
"""The first position of a batch in the order of its epoch, and the position after its last."""


@dataclass(frozen=True)
class Part(Batch):
    """The patches that one process forwards at once, as a part of a step of the optimizer.

    `weights` (batch,) are the weights of the patches in the loss. They add up to 1 over all parts of a step in all
    processes. `changes` (batch, 3) are for `augmentation.change`, or None if nothing is changed.
    """

    weights: Tensor
    changes: Tensor | None


@dataclass(frozen=True)
class Batching:
    """How patches are batched.

    A forward pass has `batch_size` patches, over all processes together. A step of the optimizer has `accumulate`
    forward passes. At most `cache_bytes` of decoded patches stay in memory.
    """

    batch_size: int
    accumulate: int = 1
    cache_bytes: int = 0


class Batches:
    """The patches of a split in batches, decoded a few steps ahead of the network."""

    def __init__(
        self,
        dataset: Dataset,
        patches: LocalPatches,
        preprocessing: Preprocessing,
        batching: Batching,
        team: Team | None = None,
    ) -> None:
        self._labels = dataset.labels
        self._name = dataset.manifest.name
        self._patches = patches
        self._preprocessing = preprocessing
        self._batching = batching
        self._team = team or Team()
        self._free_bytes = batching.cache_bytes
        self._cache: dict[int, Grey] = {}

    def __len__(self) -> int:
        """Return the steps of the optimizer in an epoch."""
        return len(self._steps())

    def in_order(self) -> Iterator[Batch]:
        """Yield this process's share of each batch, by patch id and unchanged. All shares together contain every patch
        once."""
        order = order_by_id(self._patches.ids)
        yield from prefetch(lambda bounds: self._part(order, bounds, 1.0), self._bounds())

    def shuffled(self, settings: RunSettings, epoch: int, start: int = 0) -> Iterator[list[Part]]:
        """Yield this process's parts of each step of an epoch, beginning with step `start`. InvalidInput if a batch has
        fewer patches than there are processes."""
        smallest = min(self._batching.batch_size, len(self._patches.ids))
        if smallest < self._team.size:
            raise InvalidInput(
                f"{self._team.size} processes share batches of {smallest} patches; expected one for each process"
            )
        order = order_epoch(settings, self._patches.ids, self._labels, epoch)
        yield from prefetch(lambda step: self._parts(order, step), self._steps()[start:])

    def _steps(self) -> list[list[Bounds]]:
        bounds, passes = self._bounds(), self._batching.accumulate
        return [bounds[first : first + passes] for first in range(0, len(bounds), passes)]

    def _bounds(self) -> list[Bounds]:
        """Cut the epoch into batches. A last batch with a single patch joins the one before, because batch norm needs
        two patches; so does a last batch with fewer patches than there are processes."""
        count = len(self._patches.ids)
        starts = list(range(0, count, self._batching.batch_size))
        if len(starts) > 1 and count - starts[-1] < max(2, self._team.size):
            starts.pop()
        return list(zip(starts, [*starts[1:], count], strict=True))

    def _parts(self, order: EpochOrder, step: Sequence[Bounds]) -> list[Part]:
        total_weight = float(order.weights[step[0][0] : step[-1][1]].sum())
        return [self._part(order, bounds, total_weight) for bounds in step]

    def _part(self, order: EpochOrder, bounds: Bounds, total_weight: float) -> Part:
        share = self._team.share(*bounds)
        ids = order.ids[share]
        pixels = self._preprocessing.stack(
            [
                self._pixels(int(patch_id))[:: 1 - 2 * v, :: 1 - 2 * h]
                for patch_id, (v, h) in zip(ids, order.mirrored[share], strict=True)
            ]
        )
        return Part(
            ids=torch.from_numpy(ids),
            labels=torch.from_numpy(self._labels[ids]),
            pixels=torch.from_numpy(pixels),
            weights=torch.from_numpy((order.weights[share] / total_weight).astype(np.float32)),
            changes=None if order.changes is None else torch.from_numpy(order.changes[share]),
        )

    def _pixels(self, patch_id: int) -> Grey:
        pixels = self._cache.get(patch_id)
        if pixels is None:
            pixels = self._preprocessing.pixels(self._patches.read(patch_id), f"patch {patch_id} of {self._name}")
            if pixels.nbytes <= self._free_bytes:
                self._free_bytes -= pixels.nbytes
                self._cache[patch_id] = pixels
        return pixels
