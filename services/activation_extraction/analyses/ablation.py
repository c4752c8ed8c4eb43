"""Units by ablation: how much of a class's AUC is lost when a unit is silenced, its channel set to zero everywhere.

Where the averaged maps of a layer are what the last linear layer reads, silencing a unit takes its weight times its
average from the logits: one forward a patch tells of all units. Elsewhere the layer's output is repeated, a copy for
each unit to be silenced, and only what follows the layer runs on all copies; see `silencing`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import rankdata
from torch import Tensor, nn

from services.activation_extraction.analyses.context import Context, Heartbeat, OnProgress
from services.activation_extraction.analyses.patches import Piece, draw_patches, requested_layers
from services.activation_extraction.analyses.settings import AblationSettings
from services.activation_extraction.analyses.silencing import Silencing
from services.activation_extraction.head import average_maps, head_weights
from services.activation_extraction.ranking import rank_rows
from services.common.errors import InvalidInput
from services.imaging.capture import hook_layers
from services.imaging.manifests import RANKING_SCHEMA

VALUES_AT_ONCE = 1 << 23
"""Probabilities that are ranked at once: 64 MB an array."""


class Ablation:
    """The kind; a piece is a shard of the split."""

    name = "ablation"
    settings = AblationSettings

    def pieces(self, context: Context[AblationSettings]) -> int:
        """A piece a shard. InvalidInput names a unit that a layer lacks, and says if all patches are of one class."""
        for name in requested_layers(context):
            units_of(context, name)
        labels = np.unique(context.data.labels[draw_patches(context)])
        if len(labels) == 1:
            raise InvalidInput(
                f"all patches that are looked at are of class {context.manifest.network.classes[labels[0]]}; "
                "a drop in the AUC needs others beside them"
            )
        return len(context.data.shards(context.manifest.split))

    def run_piece(self, context: Context[AblationSettings], piece: int, on_progress: OnProgress) -> dict[str, Tensor]:
        """What the AUCs need of the patches of a shard: `ids` (n,), and by layer either `<layer>/averages` (n, units)
        with `logits` (n, classes), or `<layer>/silenced` (n, 1 + units, classes), the first of which has no unit
        silenced."""
        patches, preprocessing, network = Piece(context, piece), context.checkpoint.preprocessing, context.network
        with torch.inference_mode():
            layers = Layers.of(context)
            rows: dict[str, list[Tensor]] = {"ids": [torch.empty(0, dtype=torch.int64)]}
            done, total = 0, len(patches) * (1 + len(layers.others))
            for batch in patches.batches(preprocessing, context.batch_size):
                images = preprocessing.normalise(batch.pixels.to(context.device))
                rows["ids"].append(batch.ids)
                for key, value in averages(network, layers.read, images).items():
                    rows.setdefault(key, []).append(value.cpu())
                done += len(images)
                on_progress(done, total)
                for name, silencing in layers.others.items():
                    for part in silencing.parts(images):
                        rows.setdefault(f"{name}/silenced", []).append(part)
                        done += len(part)
                        on_progress(done, total)
        state = {key: torch.cat(values) for key, values in rows.items()}
        _require_numbers(state)
        return state

    def merge(
        self, context: Context[AblationSettings], states: Sequence[dict[str, Tensor]], heartbeat: Heartbeat
    ) -> Iterator[tuple[str, pa.Table]]:
        """The units of each layer by the drop of each class's AUC, see RANKING_SCHEMA; a class that none or all of the
        patches have is left out."""
        seen = [state for state in states if len(state["ids"])]
        labels = context.data.labels[torch.cat([state["ids"] for state in seen]).numpy()]
        for name, module in requested_layers(context).items():
            units = units_of(context, name)
            plain, silenced = _logits(context, seen, name, module, units)
            rows = _rows(auc_drops(plain, silenced, labels, heartbeat), units)
            yield name, pa.Table.from_pylist(rows, schema=RANKING_SCHEMA)


@dataclass(frozen=True)
class Layers:
    """The layers that are asked for: those that the last linear layer reads, names to module paths, and the others."""

    read: dict[str, str]
    others: dict[str, Silencing]

    @classmethod
    def of(cls, context: Context[AblationSettings]) -> "Layers":
        """Which they are is asked of the network."""
        network, size, layers = context.network, context.checkpoint.preprocessing.size, requested_layers(context)
        read = {name: module for name, module in layers.items() if head_weights(network, module, size) is not None}
        others = {
            name: Silencing.of(network, module, units_of(context, name), size)
            for name, module in layers.items()
            if name not in read
        }
        return cls(read, others)


def units_of(context: Context[AblationSettings], name: str) -> list[int]:
    """The units of a layer that the settings ask for. InvalidInput names one that the layer lacks."""
    count = context.layer(name).units
    beyond = [unit for unit in context.settings.units if unit >= count]
    if beyond:
        raise InvalidInput(f"layer {name} has no unit {beyond[0]}; it has units 0 to {count - 1}")
    return sorted(set(context.settings.units)) or list(range(count))


def averages(network: nn.Module, layers: dict[str, str], images: Tensor) -> dict[str, Tensor]:
    """By `<layer>/averages` the (images, units) averages that the last linear layer reads, and `logits`; nothing where
    there are no such layers."""
    found: dict[str, Tensor] = {}

    def keep(name: str, maps: Tensor) -> None:
        found[f"{name}/averages"] = average_maps(network, maps)

    if layers:
        with hook_layers(network, layers, keep):
            found["logits"] = network(images)
    return found


def without_units(
    logits: NDArray[np.float64], means: NDArray[np.floating], weights: NDArray[np.float32], units: Sequence[int]
) -> Iterator[NDArray[np.float64]]:
    """The (n, classes) logits without each of the units, one after the other, from (n, classes) logits, the (n, units)
    averages that the last layer reads, and its (classes, units) weights."""
    for unit in units:
        yield logits - means[:, unit, None].astype(np.float64) * weights[:, unit].astype(np.float64)


def auc_drops(
    plain: NDArray[np.floating],
    silenced: Iterator[NDArray[np.floating]],
    labels: NDArray[np.int64],
    heartbeat: Heartbeat,
) -> dict[int, NDArray[np.float64]]:
    """How much lower the AUC of each class is, from (n, classes) logits and those of each silenced unit: (units,) by
    class, for the classes that some but not all of the labels name. An AUC is that of an evaluation, over the class's
    probability. `heartbeat` is called after some units."""
    classes = [label for label in range(plain.shape[1]) if 0 < (labels == label).sum() < len(labels)]
    at_once = max(1, VALUES_AT_ONCE // plain.size)
    drops: dict[int, list[NDArray[np.float64]]] = {label: [] for label in classes}
    for chunk in _chunks(silenced, at_once):
        columns = softmax(np.stack([plain, *chunk], axis=1, dtype=np.float64), axis=2)
        for label in classes:
            aucs = areas(columns[:, :, label], labels == label)
            drops[label].append(aucs[0] - aucs[1:])
        heartbeat()
    return {label: np.concatenate(parts) for label, parts in drops.items()}


def areas(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(columns,) areas under the ROC curve of the columns of (n, columns) scores, ties counting half."""
    cases, others = int(positive.sum()), int((~positive).sum())
    ranks = rankdata(scores, axis=0)
    found: NDArray[np.float64] = (ranks[positive].sum(0) - cases * (cases + 1) / 2) / (cases * others)
    return found


def _logits(
    context: Context[AblationSettings], states: Sequence[dict[str, Tensor]], name: str, module: str, units: list[int]
) -> tuple[NDArray[Any], Iterator[NDArray[np.floating]]]:
    """The (n, classes) logits as they are, and those without each unit of a layer, one after the other: together they
    take more memory than all else."""
    if f"{name}/silenced" in states[0]:
        parts = [state[f"{name}/silenced"].numpy() for state in states]
        copies = (np.concatenate([part[:, copy] for part in parts]) for copy in range(1 + len(units)))
        return next(copies), copies
    weights = head_weights(context.network, module, context.checkpoint.preprocessing.size)
    assert weights is not None
    plain = torch.cat([state["logits"] for state in states]).double().numpy()
    means = torch.cat([state[f"{name}/averages"] for state in states]).numpy()
    return plain, without_units(plain, means, weights, units)


def _require_numbers(state: dict[str, Tensor]) -> None:
    """InvalidInput names a patch for which the network gives no numbers."""
    for key in state.keys() - {"ids"}:
        broken = ~torch.isfinite(state[key]).flatten(1).all(1)
        if broken.any():
            patch = int(state["ids"][broken.nonzero()[0]])
            raise InvalidInput(f"the network gives no numbers for patch {patch} ({key})")


def _chunks(items: Iterator[NDArray[np.floating]], size: int) -> Iterator[list[NDArray[np.floating]]]:
    chunk: list[NDArray[np.floating]] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _rows(drops: dict[int, NDArray[np.float64]], units: list[int]) -> list[dict[str, object]]:
    return [row | {"unit": units[row["unit"]]} for label, scores in drops.items() for row in rank_rows(label, scores)]
