"""All that one pass keeps of a layer. Nothing here waits for the device but where it must know how much there is."""

from collections.abc import Collection

import torch
from torch import Tensor

from services.activation_extraction.histogram import ActivationHistogram
from services.activation_extraction.topk import TopK, as_half
from services.common.errors import InvalidInput


class LayerTally:
    """Accumulates what is kept of a layer's maps, which may come in any order; every part of its state merges, in any
    order, to the same.

    `sampled` are the ids of patches whose maps are kept of all units; `places` of each map are counted for thresholds.
    """

    def __init__(self, top_k: int, places: int, sampled: Collection[int]) -> None:
        self._top = TopK(top_k)
        self._histogram = ActivationHistogram(places)
        self._sampled = torch.tensor(sorted(sampled), dtype=torch.int64)
        self._sample: list[tuple[int, Tensor, Tensor]] = []
        self._ids: list[Tensor] = []
        self._maxima: list[Tensor] = []
        self._shape: torch.Size

    def add(self, maps: Tensor, ids: Tensor) -> None:
        """Take a (batch, units, height, width) tensor of maps and the (batch,) ids of its patches, on the CPU; from one
        thread at a time."""
        self._shape = maps.shape[1:]
        maxima = maps.amax((2, 3)).float()
        there = ids.to(maps.device, non_blocking=True)
        self._top.add(maps, maxima, there)
        self._histogram.add(maps, there)
        for row in torch.isin(ids, self._sampled).nonzero(as_tuple=True)[0].tolist():
            self._sample.append((int(ids[row]), maxima[row], as_half(maps[row])))
        self._ids.append(ids)
        self._maxima.append(maxima)

    @torch.inference_mode()
    def state_dict(self) -> dict[str, Tensor]:
        """values, ids, positions and maps of the top patches, histogram (units, bins), and sample_ids (s,),
        sample_values (units, s) and sample_maps (units, s, height, width) of those of the sample that came."""
        state = self._top.state_dict() | {"histogram": self._histogram.state()}
        sample = sorted(self._sample, key=lambda kept: kept[0])
        sample_maps = torch.empty(self._shape[0], len(self._sample), *self._shape[1:], dtype=torch.float16)
        for column, (_, _, maps) in enumerate(sample):
            sample_maps[:, column] = maps
        values = torch.empty(self._shape[0], len(self._sample))
        for column, (_, maxima, _) in enumerate(sample):
            values[:, column] = maxima
        ids = torch.tensor([patch_id for patch_id, _, _ in sample], dtype=torch.int64)
        return state | {"sample_ids": ids, "sample_values": values, "sample_maps": sample_maps}

    def matrix(self) -> dict[str, Tensor]:
        """ids (n,) of all patches that came, rising, and the (n, units) maxima of the units on them, in float16."""
        ids, order = torch.cat(self._ids).sort()
        return {"ids": ids, "maxima": as_half(torch.cat(self._maxima)).cpu()[order]}


def require_finite(maps: Tensor, ids: Tensor, layer: str, source: str) -> None:
    """InvalidInput names layer, unit and patch of the first NaN or infinity in (batch, units, height, width) maps."""
    for row, unit in (~torch.isfinite(maps).all((2, 3))).nonzero().tolist():
        map_ = maps[row, unit]
        raise InvalidInput(
            f"layer {layer}, unit {unit}: the activation on patch {int(ids[row])} of {source} is "
            f"{map_[~torch.isfinite(map_)][0].item()}"
        )
