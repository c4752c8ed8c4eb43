"""All that one pass keeps of a layer."""

from collections.abc import Collection

import torch
from torch import Tensor

from services.activation_extraction.histogram import ActivationHistogram
from services.activation_extraction.topk import TopK, as_half
from services.common.errors import InvalidInput


class LayerTally:
    """Accumulates what is kept of a layer's maps; every part of its state merges, in any order, to the same.

    `sampled` are the ids of patches whose maps are kept of all units; `places` of each map are counted for thresholds.
    """

    def __init__(self, layer: str, top_k: int, places: int, sampled: Collection[int], source: str) -> None:
        self._layer, self._source = layer, source
        self._top = TopK(top_k)
        self._histogram = ActivationHistogram(places)
        self._sampled = torch.tensor(sorted(sampled), dtype=torch.int64)
        self._sample: list[tuple[Tensor, Tensor, Tensor]] = []
        self._ids: list[Tensor] = []
        self._maxima: list[Tensor] = []
        self._shape: torch.Size

    def add(self, maps: Tensor, ids: Tensor) -> None:
        """Take a (batch, units, height, width) tensor of maps and the (batch,) ids of its patches. InvalidInput names
        layer, unit and patch where there is NaN or infinity."""
        self._shape = maps.shape[1:]
        # A sum is no number if anything in it is none: infinity below zero too, which a maximum would hide.
        self._require_finite(maps.sum((2, 3)), maps, ids)
        maxima = maps.amax((2, 3)).float()
        self._top.add(maps, maxima, ids)
        self._histogram.add(maps, ids)
        rows = torch.isin(ids, self._sampled).nonzero(as_tuple=True)[0]
        if len(rows):
            here = rows.to(maps.device)
            self._sample.append((ids[rows], maxima[here].cpu(), as_half(maps[here]).cpu().contiguous()))
        self._ids.append(ids)
        self._maxima.append(maxima.cpu())

    @torch.inference_mode()
    def state_dict(self) -> dict[str, Tensor]:
        """values, ids, positions and maps of the top patches, histogram (units, bins), and sample_ids (s,),
        sample_values (units, s) and sample_maps (units, s, height, width) of those of the sample that came."""
        state = self._top.state_dict() | {"histogram": self._histogram.state()}
        units, height, width = self._shape
        if not self._sample:
            empty = torch.empty(units, 0, height, width, dtype=torch.float16)
            return (
                state
                | {"sample_ids": torch.empty(0, dtype=torch.int64), "sample_maps": empty}
                | {"sample_values": torch.empty(units, 0)}
            )
        ids, values, maps = (torch.cat(parts) for parts in zip(*self._sample, strict=True))
        return state | {
            "sample_ids": ids,
            "sample_values": values.T.contiguous(),
            "sample_maps": maps.transpose(0, 1).contiguous(),
        }

    def matrix(self) -> dict[str, Tensor]:
        """ids (n,) of all patches that came and the (n, units) maxima of the units on them, in float16."""
        return {"ids": torch.cat(self._ids), "maxima": as_half(torch.cat(self._maxima))}

    def _require_finite(self, sums: Tensor, maps: Tensor, ids: Tensor) -> None:
        bad = (~torch.isfinite(sums)).nonzero()
        for row, unit in bad.tolist():
            map_ = maps[row, unit]
            faults = map_[~torch.isfinite(map_)]
            if len(faults):  # else the sum alone was too large
                raise InvalidInput(
                    f"layer {self._layer}, unit {unit}: the activation on patch {int(ids[row])} of {self._source} is "
                    f"{faults[0].item()}"
                )
