"""Ranks units by ablation: by the drop of a class's AUC when a unit is silenced, that is, its channel is set to zero.

If the last linear layer reads the averaged maps of a layer, silencing a unit subtracts its weight times its average
from the logits, and one forward per patch is enough for all units. For any other layer the output is copied, one copy
for each unit to silence, and only the layers after it run on all copies; see `silencing`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from scipy.special import expit, softmax
from scipy.stats import rankdata
from torch import Tensor, nn

from services.activation_extraction.analyses.context import Context, Heartbeat, OnProgress
from services.activation_extraction.analyses.patches import PiecePatches, draw_patches, requested_layers
from services.activation_extraction.analyses.settings import AblationSettings
from services.activation_extraction.analyses.silencing import Silencing
from services.activation_extraction.head import average_maps, head_weights
from services.activation_extraction.ranking import rank_rows
from services.common.errors import InvalidInput
from services.imaging.capture import hook_layers
from services.imaging.manifests import RANKING_SCHEMA
from services.imaging.outputs import Outputs

MAX_VALUES = 1 << 23
"""Probabilities in an array that is ranked, at most: 64 MB."""


class Ablation:
    """Ranking by ablation. A piece is a shard of the split."""

    name = "ablation"
    settings = AblationSettings

    def pieces(self, context: Context[AblationSettings]) -> int:
        """The number of shards. InvalidInput for a unit that a layer does not have, and if all patches have the same
        class."""
        for name in requested_layers(context):
            requested_units(context, name)
        labels = np.unique(context.data.labels[draw_patches(context)])
        if len(labels) == 1:
            raise InvalidInput(
                f"all patches have class {context.manifest.network.classes[labels[0]]}; "
                "a drop in the AUC needs patches of other classes too"
            )
        return len(context.data.shards(context.manifest.split))

    def run_piece(self, context: Context[AblationSettings], piece: int, on_progress: OnProgress) -> dict[str, Tensor]:
        """Compute what the AUCs need for the patches of a shard: `ids` (n,), and for each layer either
        `<layer>/averages` (n, units) with `logits` (n, classes), or `<layer>/silenced` (n, 1 + units, classes), which
        begins with the logits without any unit silenced."""
        patches, preprocessing, network = (
            PiecePatches(context, piece),
            context.checkpoint.preprocessing,
            context.network,
        )
        with torch.inference_mode():
            layers = AblatedLayers.of(context)
            rows: dict[str, list[Tensor]] = {"ids": [torch.empty(0, dtype=torch.int64)]}
            done, total = 0, len(patches) * (1 + len(layers.others))
            for batch in patches.batches(preprocessing, context.batch_size):
                images = preprocessing.normalise(batch.pixels.to(context.device))
                rows["ids"].append(batch.ids)
                for key, value in pooled_averages(network, layers.pooled, images).items():
                    rows.setdefault(key, []).append(value.cpu())
                done += len(images)
                on_progress(done, total)
                for name, silencing in layers.others.items():
                    for part in silencing.parts(images):
                        rows.setdefault(f"{name}/silenced", []).append(part)
                        done += len(part)
                        on_progress(done, total)
        state = {key: torch.cat(values) for key, values in rows.items()}
        _require_finite(state)
        return state

    def merge(
        self, context: Context[AblationSettings], states: Sequence[dict[str, Tensor]], heartbeat: Heartbeat
    ) -> Iterator[tuple[str, pa.Table]]:
        """Rank the units of each layer by the drop of each class's AUC; see RANKING_SCHEMA. A class that none or all of
        the patches have is left out."""
        seen = [state for state in states if len(state["ids"])]
        labels = context.data.labels[torch.cat([state["ids"] for state in seen]).numpy()]
        for name, module in requested_layers(context).items():
            units = requested_units(context, name)
            plain, silenced = _logits(context, seen, name, module, units)
            rows = _rows(auc_drops(plain, silenced, labels, heartbeat, context.checkpoint.outputs), units)
            yield name, pa.Table.from_pylist(rows, schema=RANKING_SCHEMA)


@dataclass(frozen=True)
class AblatedLayers:
    """The requested layers: `pooled` are read by the last linear layer (names to module paths)."""

    pooled: dict[str, str]
    others: dict[str, Silencing]

    @classmethod
    def of(cls, context: Context[AblationSettings]) -> "AblatedLayers":
        """Find out on the network which of the requested layers are pooled."""
        network, size, layers = context.network, context.checkpoint.preprocessing.size, requested_layers(context)
        pooled = {name: module for name, module in layers.items() if head_weights(network, module, size) is not None}
        others = {
            name: Silencing.of(network, module, requested_units(context, name), size)
            for name, module in layers.items()
            if name not in pooled
        }
        return cls(pooled, others)


def requested_units(context: Context[AblationSettings], name: str) -> list[int]:
    """The units of a layer that the settings name, or else all. InvalidInput for a unit that the layer does not
    have."""
    count = context.layer(name).units
    beyond = [unit for unit in context.settings.units if unit >= count]
    if beyond:
        raise InvalidInput(f"layer {name} has no unit {beyond[0]}; it has units 0 to {count - 1}")
    return sorted(set(context.settings.units)) or list(range(count))


def pooled_averages(network: nn.Module, layers: dict[str, str], images: Tensor) -> dict[str, Tensor]:
    """Compute the (images, units) averages that the last linear layer reads, by `<layer>/averages`, and the `logits`.
    Empty without such layers."""
    found: dict[str, Tensor] = {}

    def visit(name: str, maps: Tensor) -> None:
        found[f"{name}/averages"] = average_maps(network, maps)

    if layers:
        with hook_layers(network, layers, visit):
            found["logits"] = network(images)
    return found


def without_units(
    logits: NDArray[np.float64], means: NDArray[np.floating], weights: NDArray[np.float32], units: Sequence[int]
) -> Iterator[NDArray[np.float64]]:
    """Compute the (n, classes) logits without each of the units, one unit after the other, from the (n, classes) logits
    with all units, the (n, units) averages that the last layer reads, and its (classes, units) weights."""
    for unit in units:
        yield logits - means[:, unit, None].astype(np.float64) * weights[:, unit].astype(np.float64)


def auc_drops(
    plain: NDArray[np.floating],
    silenced: Iterator[NDArray[np.floating]],
    labels: NDArray[np.int64],
    heartbeat: Heartbeat,
    outputs: Outputs = "softmax",
) -> dict[int, NDArray[np.float64]]:
    """Compute by how much silencing each unit lowers the AUC of each class: (units,) by class, for the classes that
    some but not all of the labels have.

    `plain` are the (n, classes) logits with all units, `silenced` the logits without each unit. The AUC is over the
    class's probability, as in an evaluation. Calls `heartbeat` after some units.
    """
    classes = [label for label in range(plain.shape[1]) if 0 < (labels == label).sum() < len(labels)]
    units_per_chunk = max(1, MAX_VALUES // plain.size)
    drops: dict[int, list[NDArray[np.float64]]] = {label: [] for label in classes}
    for chunk in _chunks(silenced, units_per_chunk):
        columns = np.stack([plain, *chunk], axis=1, dtype=np.float64)
        columns = expit(columns) if outputs == "sigmoid" else softmax(columns, axis=2)
        for label in classes:
            aucs = roc_areas(columns[:, :, label], labels == label)
            drops[label].append(aucs[0] - aucs[1:])
        heartbeat()
    return {label: np.concatenate(parts) for label, parts in drops.items()}


def roc_areas(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The (columns,) areas under the ROC curve of the columns of (n, columns) scores. Ties count half."""
    cases, others = int(positive.sum()), int((~positive).sum())
    ranks = rankdata(scores, axis=0)
    found: NDArray[np.float64] = (ranks[positive].sum(0) - cases * (cases + 1) / 2) / (cases * others)
    return found


def _logits(
    context: Context[AblationSettings], states: Sequence[dict[str, Tensor]], name: str, module: str, units: list[int]
) -> tuple[NDArray[Any], Iterator[NDArray[np.floating]]]:
    """The (n, classes) logits with all units of a layer, and the logits without each unit, one after the other, because
    together they would need more memory than everything else."""
    if f"{name}/silenced" in states[0]:
        parts = [state[f"{name}/silenced"].numpy() for state in states]
        copies = (np.concatenate([part[:, copy] for part in parts]) for copy in range(1 + len(units)))
        return next(copies), copies
    weights = head_weights(context.network, module, context.checkpoint.preprocessing.size)
    assert weights is not None
    plain = torch.cat([state["logits"] for state in states]).double().numpy()
    means = torch.cat([state[f"{name}/averages"] for state in states]).numpy()
    return plain, without_units(plain, means, weights, units)


def _require_finite(state: dict[str, Tensor]) -> None:
    """Raise InvalidInput for the first patch on which the network's output is not finite."""
    for key in state.keys() - {"ids"}:
        broken = ~torch.isfinite(state[key]).flatten(1).all(1)
        if broken.any():
            patch = int(state["ids"][broken.nonzero()[0]])
            raise InvalidInput(f"the network's output on patch {patch} is not finite ({key})")


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
