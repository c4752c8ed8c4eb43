"""The patches on which each unit is most active, with the maps that show where, as a state that merges."""

from collections.abc import Sequence

import torch
from torch import Tensor

from services.common.errors import InvalidInput

LARGEST_FP16 = 65504.0


class TopK:
    """Per unit the k patches with the largest spatial maximum, largest first, ties to the lower patch id.

    Keeps values (units, k) in float32, ids (units, k), positions (units, k, 2) as row and column of the first maximum,
    and winning maps (units, k, height, width) in float16. Adding in any order, in any batches, and merging in any
    order give the same state.
    """

    def __init__(self, k: int) -> None:
        self.k = k
        self._values: Tensor | None = None
        self._ids: Tensor
        self._where: Tensor
        self._slots: Tensor
        self._maps: Tensor

    def add(self, maps: Tensor, ids: Tensor) -> Tensor:
        """Take a (batch, units, height, width) tensor of maps and the (batch,) ids of its patches.

        Returns the (batch, units) maxima. The caller checks that they are numbers (see `require_finite`).
        """
        batch, units, height, width = maps.shape
        flat = maps.flatten(2)
        maxima, where = flat.max(2)
        if self._values is None:
            self._start(units, height, width, maps.device)
        entered = self._rank(maxima.float().T, ids.to(maps.device).expand(units, batch), where.T)
        unit, rank, source = entered
        self._maps[unit, self._slots[unit, rank]] = flat[source, unit].clamp(-LARGEST_FP16, LARGEST_FP16).half()
        return maxima

    def state_dict(self) -> dict[str, Tensor]:
        """values, ids, positions and maps, all in rank order, on the CPU."""
        assert self._values is not None, "nothing was added"
        height, width = self._shape
        units, kept = self._values.shape
        order = torch.arange(units, device=self._maps.device)[:, None]
        maps = self._maps[order, self._slots].view(units, kept, height, width)
        positions = torch.stack((self._where // width, self._where % width), dim=2).to(torch.int32)
        state = {"values": self._values, "ids": self._ids, "positions": positions, "maps": maps}
        return {name: value.cpu().contiguous() for name, value in state.items()}

    def _start(self, units: int, height: int, width: int, device: torch.device) -> None:
        self._shape = (height, width)
        self._values = torch.empty(units, 0, device=device)
        self._ids = torch.empty(units, 0, dtype=torch.int64, device=device)
        self._where = torch.empty(units, 0, dtype=torch.int64, device=device)
        self._slots = torch.empty(units, 0, dtype=torch.int64, device=device)
        self._maps = torch.zeros(units, self.k, height * width, dtype=torch.float16, device=device)

    def _rank(self, values: Tensor, ids: Tensor, where: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Order old and new entries, keep k, and give each new one a free slot for its map.

        Returns unit, rank and source (row of the batch) of every entry that entered.
        """
        assert self._values is not None
        kept = self._values.shape[1]
        all_values, all_ids = torch.cat((self._values, values), 1), torch.cat((self._ids, ids), 1)
        order = rank_order(all_values, all_ids)[:, : self.k]
        is_new = order >= kept
        self._slots = self._place(order, is_new)
        self._values, self._ids = all_values.gather(1, order), all_ids.gather(1, order)
        self._where = torch.cat((self._where, where), 1).gather(1, order)
        unit, rank = is_new.nonzero(as_tuple=True)
        return unit, rank, order[unit, rank] - kept

    def _place(self, order: Tensor, is_new: Tensor) -> Tensor:
        """Slots of the ranked entries: an old entry keeps its own, a new one takes one that nobody holds."""
        units, kept = self._slots.shape
        old = self._slots.gather(1, order.clamp(max=max(kept - 1, 0))) if kept else torch.zeros_like(order)
        held = torch.zeros(units, self.k + 1, dtype=torch.int8, device=order.device)
        held.scatter_(1, torch.where(is_new, self.k, old), 1)
        free = held[:, : self.k].argsort(dim=1, stable=True)
        turn = (is_new.cumsum(1) - 1).clamp(min=0)
        return torch.where(is_new, free.gather(1, turn), old)


def rank_order(values: Tensor, ids: Tensor) -> Tensor:
    """Indices that sort each row of (units, n) values from large to small, equal ones by the lower id."""
    by_id = ids.argsort(dim=1, stable=True)
    by_value = values.gather(1, by_id).argsort(dim=1, descending=True, stable=True)
    return by_id.gather(1, by_value)


def merge_states(states: Sequence[dict[str, Tensor]], k: int) -> dict[str, Tensor]:
    """The state that one pass over all patches would have given, whatever the order of the states."""
    joined = {name: torch.cat([state[name] for state in states], 1) for name in states[0]}
    order = rank_order(joined["values"], joined["ids"])[:, :k]
    unit = torch.arange(len(order))[:, None]
    return {name: value[unit, order].contiguous() for name, value in joined.items()}


def require_finite(maxima: Tensor, ids: Tensor, layer: str, source: str) -> None:
    """InvalidInput names layer, unit and patch if a (batch, units) tensor of maxima holds NaN or infinity."""
    bad = (~torch.isfinite(maxima)).nonzero()
    if len(bad):
        row, unit = bad[0].tolist()
        raise InvalidInput(
            f"layer {layer}, unit {unit}: the activation on patch {int(ids[row])} of {source} is "
            f"{maxima[row, unit].item()}"
        )
