"""What is kept of a layer once its shards are in: top patches, sample, maxima, statistics, and a ranking of units."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from services.activation_extraction.correlation import correlate, similarities
from services.activation_extraction.histogram import thresholds
from services.activation_extraction.matrices import Matrices
from services.activation_extraction.merge import merge_histogram, merge_sample, merge_top
from services.activation_extraction.ranking import rank_by_influence, rank_by_selectivity
from services.activation_extraction.statistics import unit_statistics
from services.common.blobs import Blobs, ObjectRef
from services.imaging.architectures import find_head, input_channels
from services.imaging.capture import capture
from services.imaging.manifests import (
    RANKING_SCHEMA,
    STATISTICS_SCHEMA,
    TAILS,
    ExtractedLayer,
    ReceptiveField,
    put_content,
    put_content_file,
    write_table,
)
from services.imaging.receptive_field import receptive_field
from services.imaging.tensors import Tensors

BUCKET = "activation-extraction"


@dataclass(frozen=True)
class Store:
    """Where results go: below `folder` of the bucket, by way of files in `scratch`. `alive` is called after each."""

    blobs: Blobs
    folder: str
    scratch: Path
    alive: Callable[[], None]

    def tensors(self, name: str, tensors: dict[str, Tensor]) -> ObjectRef:
        """Store tensors without a second copy in memory."""
        ref = put_tensors(self.blobs, f"{self.folder}/{name}.safetensors", tensors, self.scratch)
        self.alive()
        return ref

    def table(self, name: str, rows: list[dict[str, Any]], schema: Any) -> ObjectRef:
        """Store rows."""
        ref = put_content(self.blobs, BUCKET, f"{self.folder}/{name}.parquet", write_table(rows, schema))
        self.alive()
        return ref


@dataclass(frozen=True)
class LayerProperties:
    """What a network says of a layer: the (classes, units) weights of a linear head over it, if there is one, and what
    of the input a place sees."""

    weights: NDArray[np.float32] | None
    field: ReceptiveField | None

    @classmethod
    def of(cls, network: nn.Module, module: str, units: int, size: int) -> "LayerProperties":
        """Ask a network whose input has `size` x `size` pixels of a layer of so many units."""
        device = next(network.parameters()).device
        head = linear_head(network)
        weights = head_weights(network, module, size) if head is not None and head.in_features == units else None
        return cls(weights, receptive_field(network, module, size, device))


def put_tensors(blobs: Blobs, key: str, tensors: dict[str, Tensor], scratch: Path) -> ObjectRef:
    """Store tensors by way of a file, which is removed."""
    return put_content_file(blobs, BUCKET, key, scratch, lambda path: save_file(tensors, path))


def store_layer(
    store: Store,
    name: str,
    module: str,
    states: Sequence[Tensors],
    matrices: Matrices,
    labels: NDArray[np.int64],
    classes: int,
    top_k: int,
    asked: LayerProperties,
) -> ExtractedLayer:
    """Store the results of a layer: its merged states, and what its maxima say with the (patches,) labels of its rows.
    Memory does not grow with the number of patches, beyond their ids."""
    top = merge_top(states, name, top_k)
    units, _, height, width = top["maps"].shape
    kept = {"top": store.tensors("top", top)}
    del top
    kept["sample"] = store.tensors("sample", merge_sample(states, name))
    correlation = correlate(matrices)
    kept["correlation"] = store.tensors("correlation", {"correlation": torch.from_numpy(correlation).half()})
    rows = _statistics(states, name, matrices, labels, classes, correlation)
    if asked.weights is None:
        method, ranking = "selectivity", rank_by_selectivity([row["auc_by_class"] for row in rows])
    else:
        method, ranking = "influence", rank_by_influence(matrices.blocks(), asked.weights)
    kept["statistics"] = store.table("statistics", rows, STATISTICS_SCHEMA)
    kept["ranking"] = store.table("ranking", ranking, RANKING_SCHEMA)
    return ExtractedLayer(
        name=name,
        module=module,
        units=units,
        height=height,
        width=width,
        field=asked.field,
        maxima=tuple(matrices.refs),
        ranking_method=method,
        **kept,
    )


def _statistics(
    states: Sequence[Tensors],
    name: str,
    matrices: Matrices,
    labels: NDArray[np.int64],
    classes: int,
    correlation: NDArray[np.float64],
) -> list[dict[str, Any]]:
    """Rows of STATISTICS_SCHEMA of a layer."""
    rows = [row for first, piece in matrices.pieces() for row in unit_statistics(piece, labels, classes, first)]
    exceeded = thresholds(merge_histogram(states, name), TAILS).tolist()
    similar = similarities(correlation)
    return [
        row
        | {"thresholds": threshold}
        | {"similar": like.units, "similarity": like.correlations, "duplicate_of": like.duplicate_of}
        for row, threshold, like in zip(rows, exceeded, similar, strict=True)
    ]


def linear_head(network: nn.Module) -> nn.Linear | None:
    """The last layer of a classifier, where it is linear."""
    path = find_head(network)
    head = network.get_submodule(path) if path is not None else None
    return head if isinstance(head, nn.Linear) else None


@torch.inference_mode()
def head_weights(network: nn.Module, module: str, size: int) -> NDArray[np.float32] | None:
    """The (classes, units) weights of the last layer where it is linear over the layer's averaged maps; None elsewhere.

    Whether it is, is asked of the network: on a random image the averaged maps through the last layer give its output.
    A network that averages a fixed window of its maps (torchvision 0.1.9's) is asked of that window.
    """
    head = linear_head(network)
    if head is None:
        return None
    seeded = torch.Generator().manual_seed(0)
    image = torch.randn(1, input_channels(network), size, size, generator=seeded).to(head.weight)
    with capture(network, {module: module}) as acts:
        logits = network(image)
    pooled = averaged(network, acts[module])
    if pooled.shape[1] != head.in_features or not torch.allclose(head(pooled), logits, rtol=1e-3, atol=1e-4):
        return None
    weights: NDArray[np.float32] = head.weight.detach().float().cpu().numpy()
    return weights


def averaged(network: nn.Module, maps: Tensor) -> Tensor:
    """(batch, units, height, width) maps averaged over their places, or over those that the network's window takes."""
    window = getattr(network, "avgpool", None)
    if isinstance(window, nn.AvgPool2d) and isinstance(window.kernel_size, int):
        side = window.kernel_size
        maps = maps[:, :, :side, :side]
    return maps.mean((2, 3))
