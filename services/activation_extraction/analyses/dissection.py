"""Network dissection (Bau et al. 2017): does a unit's map, above its threshold, agree with the outlines of a
phenomenon?

The network runs on each patch once more. A unit's map is resized to a grid, bilinearly as in PIL. The unit's threshold
is the activation that a set share of all positions of all its maps exceeds. For each patient, the cells above the
threshold, the cells within the outlines of each phenomenon, and the cells that are both are counted. Counts are whole
numbers, so they add up to the same totals in any order.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.activation_extraction.analyses.agreement import Counts, agreement_rows
from services.activation_extraction.analyses.context import Context, Heartbeat, OnProgress
from services.activation_extraction.analyses.outlines import SIDE, Outlines
from services.activation_extraction.analyses.settings import DissectionSettings
from services.activation_extraction.batches import read_batches
from services.common.errors import InvalidInput
from services.imaging.capture import hook_layers
from services.imaging.manifests import DISSECTION_SCHEMA, TAILS
from services.imaging.patches import Box
from services.imaging.resizing import bilinear_matrix

MAX_UNITS = 256
"""Maps that are resized together, at most: 25 MB on the grid."""


class Dissection:
    """Network dissection. A piece is a shard of the split."""

    name = "dissection"
    settings = DissectionSettings

    def pieces(self, context: Context[DissectionSettings]) -> int:
        """The number of shards. InvalidInput if no mammogram of the split has outlines."""
        _SelectedPatches(context)
        return len(context.data.shards(context.manifest.split))

    @torch.inference_mode()
    def run_piece(self, context: Context[DissectionSettings], piece: int, on_progress: OnProgress) -> dict[str, Tensor]:
        """Count the cells in the patches of a shard: `<layer>/above`, `<layer>/both` and `inside` (see `Counts`), and
        the `patients` of their rows."""
        patches = _SelectedPatches(context)
        shard = context.data.shards(context.manifest.split)[piece]
        selected = patches.within(shard.first, shard.last)
        tally = _Tally(context, patches, np.unique(patches.patient[selected]))
        wanted = set(selected.tolist())
        stream = (pair for pair in context.data.stream(shard) if pair[0] in wanted) if wanted else iter(())
        preprocessing, done = context.checkpoint.preprocessing, 0
        with hook_layers(context.network, context.layers, tally.visit):
            for batch in read_batches(stream, preprocessing, context.batch_size):
                tally.begin(batch.ids.tolist())
                context.network(preprocessing.normalise(batch.pixels.to(context.device)))
                done += len(batch.ids)
                on_progress(done, len(selected))
        return tally.state()

    def merge(
        self, context: Context[DissectionSettings], states: Sequence[dict[str, Tensor]], heartbeat: Heartbeat
    ) -> Iterator[tuple[str, pa.Table]]:
        """Compute a row for each unit and phenomenon; see DISSECTION_SCHEMA. InvalidInput if no patch contains a part
        of an outline."""
        patches = _SelectedPatches(context)
        patients, phenomena = patches.patients, patches.outlines.phenomena
        inside = _add_up(states, "inside", patients)
        if not inside.any():
            raise InvalidInput(f"no patch of split {context.manifest.split} contains a part of an outline")
        for name in context.layers:
            above, both = _add_up(states, f"{name}/above", patients), _add_up(states, f"{name}/both", patients)
            thresholds = _thresholds(context, name)
            counts = Counts(above, inside, both)
            rows = agreement_rows(counts, phenomena, thresholds, context.settings.replicates, heartbeat)
            yield name, pa.Table.from_pylist(rows, schema=DISSECTION_SCHEMA)


class _SelectedPatches:
    """The patches of the split that are compared, and their patients, numbered in the order of their names."""

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
        self._selected = outlined if context.settings.over == "outlined" else of_split
        patients = np.asarray(data.index["patient"].to_pylist())
        names = np.unique(patients[self._selected])
        self.patients = len(names)
        self.patient = np.searchsorted(names, patients)
        """The number of each patch's patient, by patch id. Only valid for selected patches."""
        self._box = np.stack([data.index[side].to_numpy() for side in ("row", "column", "height", "width")], axis=1)

    def within(self, first: int, last: int) -> NDArray[np.int64]:
        """The ids of the selected patches from `first` to `last` inclusive."""
        return np.flatnonzero(self._selected[first : last + 1]) + first

    def masks(self, patch_id: int) -> NDArray[np.bool_]:
        """The (phenomena, SIDE, SIDE) masks of one patch."""
        box = Box(*self._box[patch_id].tolist())
        return self.outlines.masks(str(self._mammogram[patch_id]), box, SIDE)


class _Tally:
    """Counts the cells of a piece, in one row for each of its patients."""

    def __init__(
        self, context: Context[DissectionSettings], patches: _SelectedPatches, patients: NDArray[np.int64]
    ) -> None:
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
        """Prepare for the next batch: rasterise the outlines over its patches and count their cells."""
        self._batch = []
        for patch_id in ids:
            row = int(np.searchsorted(self._patients, self._patches.patient[patch_id]))
            masks = torch.from_numpy(self._patches.masks(patch_id)).flatten(1).to(self._device)
            self._inside[row] += masks.sum(1)
            self._batch.append((row, masks.float()))

    def visit(self, name: str, maps: Tensor) -> None:
        """Count the cells in (batch, units, height, width) maps of a layer. Images that fill up the batch are left
        out."""
        thresholds = self._thresholds[name]
        for (row, masks), one in zip(self._batch, maps, strict=False):
            # A resized map is nowhere above the map's maximum, so the maps of most units need no resizing.
            active = torch.nonzero(one.amax((1, 2)) > thresholds)[:, 0]
            for units in active.split(MAX_UNITS):
                above = _on_grid(one[units]).flatten(1) > thresholds[units, None]
                self._above[name][row, units] += above.sum(1)
                # A sum of ones is exact in float32: there are no more of them than cells of the grid.
                self._both[name][row][:, units] += (masks @ above.float().T).long()

    def state(self) -> dict[str, Tensor]:
        """All counts, on the CPU."""
        state = {"patients": torch.from_numpy(self._patients), "inside": self._inside.cpu()}
        for name, above in self._above.items():
            state |= {f"{name}/above": above.cpu(), f"{name}/both": self._both[name].cpu()}
        return state

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.int64, device=self._device)


def _on_grid(maps: Tensor) -> Tensor:
    """Resize (units, height, width) maps to the grid as PIL does: with sums in float64 and results in float32."""
    down, across = (
        torch.from_numpy(bilinear_matrix(source, SIDE)).to(maps.device) for source in (maps.shape[1], maps.shape[2])
    )
    rows = (maps.double() @ across.T).float()
    return (down @ rows.double()).float()


def _thresholds(context: Context[DissectionSettings], name: str) -> NDArray[np.float64]:
    """The (units,) activations that the set share of all positions of each unit's maps exceeds."""
    by_unit = context.statistics(name)["thresholds"].to_pylist()
    return np.asarray(by_unit, dtype=np.float64)[:, TAILS.index(context.settings.tail)]


def _add_up(states: Sequence[dict[str, Tensor]], name: str, patients: int) -> NDArray[np.int64]:
    """Add up the counts of all pieces, to one row for each patient of the split."""
    total = torch.zeros(patients, *states[0][name].shape[1:], dtype=torch.int64)
    for state in states:
        total.index_add_(0, state["patients"], state[name])
    return total.numpy()
