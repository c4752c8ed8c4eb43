"""The top patches of each unit, with the maps that show where the unit is active, as a state that merges."""

from dataclasses import dataclass

import torch
from torch import Tensor

LARGEST_FP16 = 65504.0
PENDING_BYTES = {"cpu": 64 << 20, "cuda": 1 << 30}
"""Bytes of maps that are collected before they are ranked. A GPU has enough memory to avoid many small steps."""


def as_half(maps: Tensor) -> Tensor:
    """The values in float16. Values beyond its range become the largest or the smallest value in it."""
    return maps.clamp(-LARGEST_FP16, LARGEST_FP16).half()


@dataclass(frozen=True)
class Entries:
    """Candidates of all units in one list, each with its unit, value, patch id, position (of the maximum in the
    flattened map), and map: maps is (n, height x width) in float16."""

    unit: Tensor
    value: Tensor
    id: Tensor
    position: Tensor
    maps: Tensor


class TopK:
    """For each unit the k patches with the largest spatial maximum, largest first; ties go to the lower patch id.

    The state is values (units, k) in float32, ids (units, k), positions (units, k, 2) as row and column of the first
    maximum, and maps (units, k, height, width) in float16. Any order of adding, any batches and any order of merging
    lead to the same state.

    A candidate that comes before the k-th entry of its unit is copied and collected. Once the number of collected
    candidates equals the number of retained entries, all are ranked together. So about k (1 + log2(N / k)) maps of N
    are copied, and ranking takes little time (the buffer of netdissect's `RunningTopK`, extended by the maps).
    """

    def __init__(self, k: int) -> None:
        self.k = k
        self._shape: tuple[int, int] | None = None
        self._seen = 0
        self._pending: list[Entries] = []

    def add(self, maps: Tensor, maxima: Tensor, ids: Tensor) -> None:
        """Add (batch, units, height, width) maps, their (batch, units) spatial maxima in float32, and the (batch,) ids
        of the patches. Each patch is added once."""
        if self._shape is None:
            self._start(maps)
        _, units, height, width = maps.shape
        step = max(1, _pending_bytes(maps) // (units * height * width * 4))
        ids = ids.to(maps.device)
        for first in range(0, len(maps), step):
            part = slice(first, first + step)
            self._collect(maps[part], maxima[part], ids[part])

    @torch.inference_mode()
    def state_dict(self) -> dict[str, Tensor]:
        """Values, ids, positions and maps, all in rank order, on the CPU."""
        assert self._shape is not None, "nothing was added"
        self._rank()
        height, width = self._shape
        units, retained = self._values.shape
        self._sort_maps()
        maps = self._maps[:, :retained].view(units, retained, height, width)
        positions = torch.stack((self._positions // width, self._positions % width), dim=2).to(torch.int32)
        state = {"values": self._values, "ids": self._ids, "positions": positions, "maps": maps}
        return {name: value.cpu().contiguous() for name, value in state.items()}

    def _start(self, maps: Tensor) -> None:
        _, units, height, width = maps.shape
        self._shape = (height, width)
        self._values = torch.empty(units, 0, device=maps.device)
        self._ids = self._positions = self._slots = torch.empty(units, 0, dtype=torch.int64, device=maps.device)
        self._maps = torch.zeros(units, self.k, height * width, dtype=torch.float16, device=maps.device)

    def _collect(self, maps: Tensor, maxima: Tensor, ids: Tensor) -> None:
        """Collect the candidates of a part of a batch, and rank them once there are enough."""
        row, unit = self._may_enter(maxima, ids).nonzero(as_tuple=True)
        self._seen += len(ids)
        if len(row):
            winners = maps[row, unit].flatten(1)
            # The first maximum: its position must not depend on the other patches of the batch.
            position = winners.argmax(1)
            self._pending.append(Entries(unit, maxima[row, unit], ids[row], position, as_half(winners)))
        pending = sum(len(entries.unit) for entries in self._pending)
        size = 2 * pending * self._maps.shape[2]
        if pending >= len(self._values) * self.k or size >= _pending_bytes(self._maps):
            self._rank()

    def _may_enter(self, maxima: Tensor, ids: Tensor) -> Tensor:
        """Which of the (batch, units) maxima come before the k-th retained entry of their unit."""
        if self._values.shape[1] < self.k:
            return torch.ones_like(maxima, dtype=torch.bool)
        last, last_id = self._values[:, -1], self._ids[:, -1]
        before: Tensor = (maxima > last) | ((maxima == last) & (ids[:, None] < last_id))
        return before

    def _rank(self) -> None:
        """Sort retained and pending entries, retain k, and copy the maps of the new ones into free slots."""
        if not self._pending:
            return
        unit = torch.cat([entries.unit for entries in self._pending])
        column = _index_within_unit(unit, len(self._values))
        width = int(column.max()) + 1
        values = self._by_unit(unit, column, width, [entries.value for entries in self._pending], -torch.inf)
        ids = self._by_unit(
            unit, column, width, [entries.id for entries in self._pending], torch.iinfo(torch.int64).max
        )
        positions = self._by_unit(unit, column, width, [entries.position for entries in self._pending], 0)
        retained = self._values.shape[1]
        all_values, all_ids = torch.cat((self._values, values), 1), torch.cat((self._ids, ids), 1)
        order = rank_order(all_values, all_ids)[:, : min(self.k, self._seen)]
        is_new = order >= retained
        self._slots = self._assign_slots(order, is_new)
        self._values, self._ids = all_values.gather(1, order), all_ids.gather(1, order)
        self._positions = torch.cat((self._positions, positions), 1).gather(1, order)
        self._copy_maps(unit, column, order - retained, is_new)

    def _by_unit(self, unit: Tensor, column: Tensor, width: int, parts: list[Tensor], empty: float) -> Tensor:
        """Values of pending entries as (units, width), each in the row of its unit. Cells without a value are
        `empty`."""
        flat = torch.cat(parts)
        table = torch.full((len(self._values), width), empty, dtype=flat.dtype, device=flat.device)
        table[unit, column] = flat
        return table

    def _copy_maps(self, unit: Tensor, column: Tensor, source: Tensor, is_new: Tensor) -> None:
        """Copy the maps of the pending entries that are retained. `source` (units, ranks) is their column."""
        slot = torch.full((len(self._values), int(column.max()) + 1), -1, dtype=torch.int64, device=unit.device)
        units, ranks = is_new.nonzero(as_tuple=True)
        slot[units, source[units, ranks]] = self._slots[units, ranks]
        target = slot[unit, column]
        first = 0
        for entries in self._pending:
            to = target[first : first + len(entries.unit)]
            entered = (to >= 0).nonzero(as_tuple=True)[0]
            self._maps[entries.unit[entered], to[entered]] = entries.maps[entered]
            first += len(entries.unit)
        self._pending.clear()

    def _sort_maps(self) -> None:
        """Sort each unit's maps into rank order, without a second copy of all maps."""
        retained = self._slots.shape[1]
        for maps, slots in zip(self._maps, self._slots, strict=True):
            maps[:retained] = maps[slots]
        self._slots = torch.arange(retained, device=self._slots.device).expand_as(self._slots)

    def _assign_slots(self, order: Tensor, is_new: Tensor) -> Tensor:
        """Slots of the ranked entries: an old entry stays in its slot, a new one receives a free slot."""
        units, retained = self._slots.shape
        old = self._slots.gather(1, order.clamp(max=max(retained - 1, 0))) if retained else torch.zeros_like(order)
        used = torch.zeros(units, self.k + 1, dtype=torch.int8, device=order.device)
        used.scatter_(1, torch.where(is_new, self.k, old), 1)
        free = used[:, : self.k].argsort(dim=1, stable=True)
        number = (is_new.cumsum(1) - 1).clamp(min=0)
        return torch.where(is_new, free.gather(1, number), old)


def _pending_bytes(maps: Tensor) -> int:
    return PENDING_BYTES.get(maps.device.type, PENDING_BYTES["cpu"])


def rank_order(values: Tensor, ids: Tensor) -> Tensor:
    """Indices that sort each row of (units, n) values from large to small; equal values by the lower id."""
    by_id = ids.argsort(dim=1, stable=True)
    by_value = values.gather(1, by_id).argsort(dim=1, descending=True, stable=True)
    return by_id.gather(1, by_value)


def _index_within_unit(unit: Tensor, units: int) -> Tensor:
    """The index of each entry of a list among the entries of its unit, from 0."""
    order = unit.argsort(stable=True)
    counts = unit.bincount(minlength=units)
    starts = counts.cumsum(0) - counts
    index = torch.empty_like(unit)
    index[order] = torch.arange(len(unit), device=unit.device) - starts[unit[order]]
    return index
