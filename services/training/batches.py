"""Batches of a split, decoded ahead of the network: each process of a run gets its share of every one of them."""

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
"""First and last of a batch in the order of its epoch; the last is outside."""


@dataclass(frozen=True)
class Part(Batch):
    """What one process forwards at a time of a step of the optimizer.

    `weights` (batch,) are those of the patches in the loss, and sum up to 1 over all parts of a step, those of the
    other processes included. `changes` (batch, 3) are those of `augmentation.change`, if there are any.
    """

    weights: Tensor
    changes: Tensor | None


class Batches:
    """The patches of a split, decoded a few steps ahead of the network and kept in memory as far as there is room.

    `batch_size` patches are forwarded at a time, by all processes together, and `accumulate` times for a step.
    """

    def __init__(
        self,
        dataset: Dataset,
        patches: LocalPatches,
        preprocessing: Preprocessing,
        batch_size: int,
        cache_bytes: int,
        accumulate: int = 1,
        team: Team | None = None,
    ) -> None:
        self._labels = dataset.labels
        self._name = dataset.manifest.name
        self._patches = patches
        self._preprocessing = preprocessing
        self._batch_size = batch_size
        self._accumulate = accumulate
        self._team = team or Team()
        self._room = cache_bytes
        self._cache: dict[int, Grey] = {}

    def __len__(self) -> int:
        """Steps of the optimizer in an epoch."""
        return len(self._steps())

    def in_order(self) -> Iterator[Batch]:
        """This process's share of each batch, by patch id, unchanged; together they are every patch once."""
        order = order_by_id(self._patches.ids)
        yield from prefetch(lambda bounds: self._part(order, bounds, 1.0), self._bounds())

    def shuffled(self, settings: RunSettings, epoch: int, start: int = 0) -> Iterator[list[Part]]:
        """This process's parts of each step of an epoch, from step `start` on. InvalidInput if there is not a patch for
        every process."""
        smallest = min(self._batch_size, len(self._patches.ids))
        if smallest < self._team.size:
            raise InvalidInput(
                f"{self._team.size} processes share batches of {smallest} patches; expected one for each"
            )
        order = order_epoch(settings, self._patches.ids, self._labels, epoch)
        yield from prefetch(lambda step: self._parts(order, step), self._steps()[start:])

    def _steps(self) -> list[list[Bounds]]:
        bounds = self._bounds()
        return [bounds[first : first + self._accumulate] for first in range(0, len(bounds), self._accumulate)]

    def _bounds(self) -> list[Bounds]:
        """A last batch of one patch joins its neighbour, since batch norm needs two, and so does one that has not a
        patch for every process."""
        count = len(self._patches.ids)
        starts = list(range(0, count, self._batch_size))
        if len(starts) > 1 and count - starts[-1] < max(2, self._team.size):
            starts.pop()
        return list(zip(starts, [*starts[1:], count], strict=True))

    def _parts(self, order: EpochOrder, step: Sequence[Bounds]) -> list[Part]:
        total = float(order.weights[step[0][0] : step[-1][1]].sum())
        return [self._part(order, bounds, total) for bounds in step]

    def _part(self, order: EpochOrder, bounds: Bounds, total: float) -> Part:
        mine = self._team.share(*bounds)
        ids = order.ids[mine]
        pixels = self._preprocessing.stack(
            [
                self._pixels(int(patch_id))[:: 1 - 2 * v, :: 1 - 2 * h]
                for patch_id, (v, h) in zip(ids, order.mirrored[mine], strict=True)
            ]
        )
        return Part(
            ids=torch.from_numpy(ids),
            labels=torch.from_numpy(self._labels[ids]),
            pixels=torch.from_numpy(pixels),
            weights=torch.from_numpy((order.weights[mine] / total).astype(np.float32)),
            changes=None if order.changes is None else torch.from_numpy(order.changes[mine]),
        )

    def _pixels(self, patch_id: int) -> Grey:
        found = self._cache.get(patch_id)
        if found is None:
            found = self._preprocessing.pixels(self._patches.read(patch_id), f"patch {patch_id} of {self._name}")
            if found.nbytes <= self._room:
                self._room -= found.nbytes
                self._cache[patch_id] = found
        return found
