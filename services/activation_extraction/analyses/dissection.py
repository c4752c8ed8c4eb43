"""Network dissection (Bau et al. 2017): does a unit's map, above its threshold, agree with the outline of something?

Each patch goes through the network once more. A unit's map is resized to a grid as PIL does it, bilinearly, and cut at
the activation that a set share of all places of all its maps exceeds. Counted are the cells above that, those within
the outlines of each phenomenon, and those of both, as whole numbers a patient: they add up to the same in any order.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.activation_extraction.analyses.agreement import Counts, agreement_rows
from services.activation_extraction.analyses.context import Context, Heartbeat, OnProgress
from services.activation_extraction.analyses.outlines import Outlines
from services.activation_extraction.analyses.settings import DissectionSettings
from services.activation_extraction.batches import read_batches
from services.common.errors import InvalidInput
from services.imaging.capture import hook_layers
from services.imaging.manifests import DISSECTION_SCHEMA, TAILS
from services.imaging.patches import Box
from services.imaging.resizing import bilinear_matrix

SIDE = 112
"""Cells along a side of the grid that maps and outlines are compared on, as NetDissect has it."""
UNITS_AT_ONCE = 256
"""Maps that are resized at once: 25 MB on the grid."""


class Dissection:
    """The kind; a piece is a shard of the split."""

    name = "dissection"
    settings = DissectionSettings

    def pieces(self, context: Context[DissectionSettings]) -> int:
        """A piece a shard. InvalidInput where no mammogram of the split has outlines."""
        _Patches(context)
        return len(context.data.shards(context.manifest.split))

    @torch.inference_mode()
    def run_piece(self, context: Context[DissectionSettings], piece: int, on_progress: OnProgress) -> dict[str, Tensor]:
        """The sums over the patches of a shard: `above` and `both` a layer, `inside`, and which `patients` their rows
        are; see `Counts`."""
        patches = _Patches(context)
        shard = context.data.shards(context.manifest.split)[piece]
        chosen = patches.within(shard.first, shard.last)
        tally = _Tally(context, patches, np.unique(patches.patient[chosen]))
        wanted = set(chosen.tolist())
        stream = (pair for pair in context.data.stream(shard) if pair[0] in wanted) if wanted else iter(())
        preprocessing, done = context.checkpoint.preprocessing, 0
        with hook_layers(context.network, context.layers, tally.visit):
            for batch in read_batches(stream, preprocessing, context.batch_size):
                tally.begin(batch.ids.tolist())
                context.network(preprocessing.normalise(batch.pixels.to(context.device)))
                done += len(batch.ids)
                on_progress(done, len(chosen))
        return tally.state()

    def merge(
        self, context: Context[DissectionSettings], states: Sequence[dict[str, Tensor]], heartbeat: Heartbeat
    ) -> Iterator[tuple[str, pa.Table]]:
        """A row a unit and phenomenon, see DISSECTION_SCHEMA. InvalidInput where no patch reaches into an outline."""
        patches = _Patches(context)
        patients, phenomena = patches.patients, patches.outlines.phenomena
        inside = _summed(states, "inside", patients)
        if not inside.any():
            raise InvalidInput(f"no patch of split {context.manifest.split} reaches into an outline")
        for name in context.layers:
            above, both = _summed(states, f"{name}/above", patients), _summed(states, f"{name}/both", patients)
            thresholds = _thresholds(context, name)
            counts = Counts(above, inside, both)
            rows = agreement_rows(counts, phenomena, thresholds, context.settings.replicates, heartbeat)
            yield name, pa.Table.from_pylist(rows, schema=DISSECTION_SCHEMA)


class _Patches:
    """The patches of the split that are looked at, with their patients numbered in the order of their names."""

    def __init__(self, context: Context[DissectionSettings]) -> None:
        data, split = context.data, context.manifest.split
        data.shards(split)
        self.outlines = Outlines(data.lesions)
        of_split = np.asarray(data.index["split"].to_pylist()) == split
        self._mammogram = np.asarray(data.index["mammogram"].to_pylist())
        outlined = of_split & np.isin(self._mammogram, sorted(self.outlines.mammograms))
        if not outlined.any():
            raise InvalidInput(
                f"no mammogram of split {split} of data set {data.manifest.name} has outlines; dissection needs some"
            )
        self._chosen = outlined if context.settings.over == "outlined" else of_split
        patients = np.asarray(data.index["patient"].to_pylist())
        names = np.unique(patients[self._chosen])
        self.patients = len(names)
        self.patient = np.searchsorted(names, patients)
        """The number of each patch's patient, by patch id; of patches that are not looked at it says nothing."""
        self._box = np.stack([data.index[side].to_numpy() for side in ("row", "column", "height", "width")], axis=1)

    def within(self, first: int, last: int) -> NDArray[np.int64]:
        """The ids from `first` to `last`, both within, that are looked at."""
        return np.flatnonzero(self._chosen[first : last + 1]) + first

    def masks(self, patch_id: int) -> NDArray[np.bool_]:
        """(phenomena, SIDE, SIDE) of one patch."""
        box = Box(*self._box[patch_id].tolist())
        return self.outlines.masks(str(self._mammogram[patch_id]), box, SIDE)


class _Tally:
    """What is counted of a piece, a row for each of its patients."""

    def __init__(self, context: Context[DissectionSettings], patches: _Patches, patients: NDArray[np.int64]) -> None:
        rows, phenomena = len(patients), len(patches.outlines.phenomena)
        self._patches, self._patients, self._device = patches, patients, context.device
        self._inside = self._zeros(rows, phenomena)
        self._above = {layer.name: self._zeros(rows, layer.units) for layer in context.manifest.layers}
        self._both = {layer.name: self._zeros(rows, phenomena, layer.units) for layer in context.manifest.layers}
        self._thresholds = {
            name: torch.from_numpy(_thresholds(context, name)).to(context.device) for name in context.layers
        }
        self._batch: list[tuple[int, Tensor]] = []

    def begin(self, ids: list[int]) -> None:
        """A batch follows: rasterise the outlines over its patches and count their cells."""
        self._batch = []
        for patch_id in ids:
            row = int(np.searchsorted(self._patients, self._patches.patient[patch_id]))
            masks = torch.from_numpy(self._patches.masks(patch_id)).flatten(1).to(self._device)
            self._inside[row] += masks.sum(1)
            self._batch.append((row, masks.float()))

    def visit(self, name: str, maps: Tensor) -> None:
        """Count the (batch, units, height, width) maps of a layer; what fills the batch up is left out."""
        thresholds = self._thresholds[name]
        for (row, masks), one in zip(self._batch, maps, strict=False):
            # A resized map is nowhere above its maximum: most units of a patch need no resizing.
            active = torch.nonzero(one.amax((1, 2)) > thresholds)[:, 0]
            for units in active.split(UNITS_AT_ONCE):
                above = _on_grid(one[units]).flatten(1) > thresholds[units, None]
                self._above[name][row, units] += above.sum(1)
                # Sums of ones up to the cells of the grid: exact in float32.
                self._both[name][row][:, units] += (masks @ above.float().T).long()

    def state(self) -> dict[str, Tensor]:
        """All that was counted, on the CPU."""
        state = {"patients": torch.from_numpy(self._patients), "inside": self._inside.cpu()}
        for name, above in self._above.items():
            state |= {f"{name}/above": above.cpu(), f"{name}/both": self._both[name].cpu()}
        return state

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.int64, device=self._device)


def _on_grid(maps: Tensor) -> Tensor:
    """(units, height, width) maps on the grid, resized as PIL does it: summed in float64, kept in float32."""
    down, across = (
        torch.from_numpy(bilinear_matrix(source, SIDE)).to(maps.device) for source in (maps.shape[1], maps.shape[2])
    )
    rows = (maps.double() @ across.T).float()
    return (down @ rows.double()).float()


def _thresholds(context: Context[DissectionSettings], name: str) -> NDArray[np.float64]:
    """What the set share of all places of each unit's maps exceeds, (units,)."""
    told = context.statistics(name)["thresholds"].to_pylist()
    return np.asarray(told, dtype=np.float64)[:, TAILS.index(context.settings.tail)]


def _summed(states: Sequence[dict[str, Tensor]], name: str, patients: int) -> NDArray[np.int64]:
    """What pieces counted of their patients, as one row a patient of the split."""
    total = torch.zeros(patients, *states[0][name].shape[1:], dtype=torch.int64)
    for state in states:
        total.index_add_(0, state["patients"], state[name])
    return total.numpy()
