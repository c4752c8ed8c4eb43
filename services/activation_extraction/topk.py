"""The patches on which each unit is most active, with the maps that show where, as a state that merges."""

from dataclasses import dataclass

import torch
from torch import Tensor

LARGEST_FP16 = 65504.0
PENDING_BYTES = {"cpu": 64 << 20, "cuda": 1 << 30}
"""Maps that may wait until they are ranked. A GPU has more memory than time for many small steps."""


def as_half(maps: Tensor) -> Tensor:
    """Values in float16, those beyond its range at its end."""
    return maps.clamp(-LARGEST_FP16, LARGEST_FP16).half()


@dataclass(frozen=True)
class Entries:
    """Candidates of all units in one list: unit, value, id and place (of the maximum in the flattened map) of each,
    and their maps (n, height x width) in float16."""

    unit: Tensor
    value: Tensor
    id: Tensor
    place: Tensor
    maps: Tensor


class TopK:
    """Per unit the k patches with the largest spatial maximum, largest first, ties to the lower patch id.

    Keeps values (units, k) in float32, ids (units, k), positions (units, k, 2) as row and column of the first maximum,
    and winning maps (units, k, height, width) in float16. Adding in any order, in any batches, and merging in any
    order give the same state.

    What reaches the k-th value of its unit is copied and waits; once as much waits as is kept, all is ranked at a time.
    So about k (1 + log2(N / k)) maps of N are copied, and ranking costs little (the buffer of netdissect's
    `RunningTopK`, with the maps beside it).
    """

    def __init__(self, k: int) -> None:
        self.k = k
        self._shape: tuple[int, int] | None = None
        self._seen = 0
        self._waiting: list[Entries] = []

    def add(self, maps: Tensor, maxima: Tensor, ids: Tensor) -> None:
        """Take a (batch, units, height, width) tensor of maps, their (batch, units) spatial maxima in float32, and the
        (batch,) ids of the patches, each of which comes once."""
        if self._shape is None:
            self._start(maps)
        _, units, height, width = maps.shape
        step = max(1, _pending_bytes(maps) // (units * height * width * 4))
        ids = ids.to(maps.device)
        for first in range(0, len(maps), step):
            part = slice(first, first + step)
            self._take(maps[part], maxima[part], ids[part])

    @torch.inference_mode()
    def state_dict(self) -> dict[str, Tensor]:
        """values, ids, positions and maps, all in rank order, on the CPU."""
        assert self._shape is not None, "nothing was added"
        self._rank()
        height, width = self._shape
        units, kept = self._values.shape
        self._sort_maps()
        maps = self._maps[:, :kept].view(units, kept, height, width)
        positions = torch.stack((self._where // width, self._where % width), dim=2).to(torch.int32)
        state = {"values": self._values, "ids": self._ids, "positions": positions, "maps": maps}
        return {name: value.cpu().contiguous() for name, value in state.items()}

    def _start(self, maps: Tensor) -> None:
        _, units, height, width = maps.shape
        self._shape = (height, width)
        self._values = torch.empty(units, 0, device=maps.device)
        self._ids = self._where = self._slots = torch.empty(units, 0, dtype=torch.int64, device=maps.device)
        self._maps = torch.zeros(units, self.k, height * width, dtype=torch.float16, device=maps.device)

    def _take(self, maps: Tensor, maxima: Tensor, ids: Tensor) -> None:
        """Put aside what may enter, and rank when enough waits."""
        row, unit = self._may_enter(maxima, ids).nonzero(as_tuple=True)
        self._seen += len(ids)
        if len(row):
            winners = maps[row, unit].flatten(1)
            # The first maximum: where it lies must not depend on what else is in the batch.
            place = winners.argmax(1)
            self._waiting.append(Entries(unit, maxima[row, unit], ids[row], place, as_half(winners)))
        waiting = sum(len(entries.unit) for entries in self._waiting)
        size = 2 * waiting * self._maps.shape[2]
        if waiting >= len(self._values) * self.k or size >= _pending_bytes(self._maps):
            self._rank()

    def _may_enter(self, maxima: Tensor, ids: Tensor) -> Tensor:
        """Which of the (batch, units) maxima are before the k-th entry that is kept."""
        if self._values.shape[1] < self.k:
            return torch.ones_like(maxima, dtype=torch.bool)
        last, last_id = self._values[:, -1], self._ids[:, -1]
        before: Tensor = (maxima > last) | ((maxima == last) & (ids[:, None] < last_id))
        return before

    def _rank(self) -> None:
        """Order kept and waiting entries, keep k, and copy the maps of those that enter to free slots."""
        if not self._waiting:
            return
        unit = torch.cat([entries.unit for entries in self._waiting])
        turn = _turns(unit, len(self._values))
        width = int(turn.max()) + 1
        values = self._beside(unit, turn, width, [entries.value for entries in self._waiting], -torch.inf)
        ids = self._beside(unit, turn, width, [entries.id for entries in self._waiting], torch.iinfo(torch.int64).max)
        where = self._beside(unit, turn, width, [entries.place for entries in self._waiting], 0)
        kept = self._values.shape[1]
        all_values, all_ids = torch.cat((self._values, values), 1), torch.cat((self._ids, ids), 1)
        order = rank_order(all_values, all_ids)[:, : min(self.k, self._seen)]
        is_new = order >= kept
        self._slots = self._place(order, is_new)
        self._values, self._ids = all_values.gather(1, order), all_ids.gather(1, order)
        self._where = torch.cat((self._where, where), 1).gather(1, order)
        self._copy_maps(unit, turn, order - kept, is_new)

    def _beside(self, unit: Tensor, turn: Tensor, width: int, parts: list[Tensor], empty: float) -> Tensor:
        """Waiting values as (units, width), each in the row of its unit; `empty` where there are fewer."""
        flat = torch.cat(parts)
        table = torch.full((len(self._values), width), empty, dtype=flat.dtype, device=flat.device)
        table[unit, turn] = flat
        return table

    def _copy_maps(self, unit: Tensor, turn: Tensor, source: Tensor, is_new: Tensor) -> None:
        """Copy the maps of the waiting entries that entered: `source` (units, ranks) is their turn in their unit."""
        slot = torch.full((len(self._values), int(turn.max()) + 1), -1, dtype=torch.int64, device=unit.device)
        units, ranks = is_new.nonzero(as_tuple=True)
        slot[units, source[units, ranks]] = self._slots[units, ranks]
        goal = slot[unit, turn]
        first = 0
        for entries in self._waiting:
            to = goal[first : first + len(entries.unit)]
            entered = (to >= 0).nonzero(as_tuple=True)[0]
            self._maps[entries.unit[entered], to[entered]] = entries.maps[entered]
            first += len(entries.unit)
        self._waiting.clear()

    def _sort_maps(self) -> None:
        """Have each unit's maps in rank order, without a second copy of all of them."""
        kept = self._slots.shape[1]
        for maps, slots in zip(self._maps, self._slots, strict=True):
            maps[:kept] = maps[slots]
        self._slots = torch.arange(kept, device=self._slots.device).expand_as(self._slots)

    def _place(self, order: Tensor, is_new: Tensor) -> Tensor:
        """Slots of the ranked entries: an old entry keeps its own, a new one takes one that nobody holds."""
        units, kept = self._slots.shape
        old = self._slots.gather(1, order.clamp(max=max(kept - 1, 0))) if kept else torch.zeros_like(order)
        held = torch.zeros(units, self.k + 1, dtype=torch.int8, device=order.device)
        held.scatter_(1, torch.where(is_new, self.k, old), 1)
        free = held[:, : self.k].argsort(dim=1, stable=True)
        turn = (is_new.cumsum(1) - 1).clamp(min=0)
        return torch.where(is_new, free.gather(1, turn), old)


def _pending_bytes(maps: Tensor) -> int:
    return PENDING_BYTES.get(maps.device.type, PENDING_BYTES["cpu"])


def rank_order(values: Tensor, ids: Tensor) -> Tensor:
    """Indices that sort each row of (units, n) values from large to small, equal ones by the lower id."""
    by_id = ids.argsort(dim=1, stable=True)
    by_value = values.gather(1, by_id).argsort(dim=1, descending=True, stable=True)
    return by_id.gather(1, by_value)


def _turns(unit: Tensor, units: int) -> Tensor:
    """For each entry of a list its number among those of its unit, from 0."""
    order = unit.argsort(stable=True)
    counts = unit.bincount(minlength=units)
    starts = counts.cumsum(0) - counts
    turn = torch.empty_like(unit)
    turn[order] = torch.arange(len(unit), device=unit.device) - starts[unit[order]]
    return turn
