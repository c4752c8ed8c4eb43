"""What one pass over the patches records of a layer.

Nothing here waits for the device, except where the next step needs a size.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.activation_extraction.histogram import ActivationHistogram, positions_per_map
from services.activation_extraction.topk import TopK, as_half
from services.common.errors import InvalidInput

SAMPLED = 32
"""Sample patches of a split. The maps of all units on them are stored, to show what a unit does on other patches than
its top patches."""


@dataclass(frozen=True)
class TallyOptions:
    """What is recorded: the number of top patches per unit, the number of positions per map that are counted for
    thresholds, and the ids of the sample patches."""

    top_k: int
    positions: int
    sampled: frozenset[int]

    @classmethod
    def of(cls, top_k: int, ids: NDArray[np.int64]) -> "TallyOptions":
        """The options for a split with these patch ids, in order. They do not depend on how the split is cut into
        shards."""
        drawn = np.random.default_rng(0).choice(ids, min(SAMPLED, len(ids)), replace=False)
        return cls(top_k, positions_per_map(len(ids)), frozenset(drawn.tolist()))


class LayerTally:
    """Accumulates the top patches, the histogram, the sample maps and the maxima of one layer. Maps may come in any
    order, and states merge in any order, always to the same result."""

    def __init__(self, options: TallyOptions) -> None:
        self._top = TopK(options.top_k)
        self._histogram = ActivationHistogram(options.positions)
        self._sampled = torch.tensor(sorted(options.sampled), dtype=torch.int64)
        self._sample: list[tuple[int, Tensor, Tensor]] = []
        self._ids: list[Tensor] = []
        self._maxima: list[Tensor] = []
        self._shape: torch.Size

    def add(self, maps: Tensor, ids: Tensor) -> None:
        """Add (batch, units, height, width) maps and the (batch,) ids of their patches, which are on the CPU. Only one
        thread may call this at a time."""
        self._shape = maps.shape[1:]
        maxima = maps.amax((2, 3)).float()
        ids_on_device = ids.to(maps.device, non_blocking=True)
        self._top.add(maps, maxima, ids_on_device)
        self._histogram.add(maps, ids_on_device)
        for row in torch.isin(ids, self._sampled).nonzero(as_tuple=True)[0].tolist():
            self._sample.append((int(ids[row]), maxima[row], as_half(maps[row])))
        self._ids.append(ids)
        self._maxima.append(maxima)

    @torch.inference_mode()
    def state_dict(self) -> dict[str, Tensor]:
        """Values, ids, positions and maps of the top patches; histogram (units, bins); and sample_ids (s,),
        sample_values (units, s) and sample_maps (units, s, height, width) of the sample patches that were added."""
        state = self._top.state_dict() | {"histogram": self._histogram.state()}
        sample = sorted(self._sample, key=lambda patch: patch[0])
        sample_maps = torch.empty(self._shape[0], len(self._sample), *self._shape[1:], dtype=torch.float16)
        for column, (_, _, maps) in enumerate(sample):
            sample_maps[:, column] = maps
        values = torch.empty(self._shape[0], len(self._sample))
        for column, (_, maxima, _) in enumerate(sample):
            values[:, column] = maxima
        ids = torch.tensor([patch_id for patch_id, _, _ in sample], dtype=torch.int64)
        return state | {"sample_ids": ids, "sample_values": values, "sample_maps": sample_maps}

    def matrix(self) -> dict[str, Tensor]:
        """The rising ids (n,) of all patches that were added, and the (n, units) maxima of the units in float16."""
        ids, order = torch.cat(self._ids).sort()
        return {"ids": ids, "maxima": as_half(torch.cat(self._maxima)).cpu()[order]}


def require_finite(maps: Tensor, ids: Tensor, layer: str, source: str) -> None:
    """Raise InvalidInput for the first NaN or infinity in (batch, units, height, width) maps, naming layer, unit and
    patch."""
    for row, unit in (~torch.isfinite(maps).all((2, 3))).nonzero().tolist():
        map_ = maps[row, unit]
        raise InvalidInput(
            f"layer {layer}, unit {unit}: the activation on patch {int(ids[row])} of {source} is "
            f"{map_[~torch.isfinite(map_)][0].item()}"
        )
