"""The results of a layer, from the results of all shards: top patches, sample, maxima, statistics, and a ranking of its
units."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from services.activation_extraction.correlation import correlate, similarities
from services.activation_extraction.head import LayerProperties
from services.activation_extraction.histogram import thresholds
from services.activation_extraction.matrices import Matrices
from services.activation_extraction.merge import merge_histogram, merge_sample, merge_top
from services.activation_extraction.names import BUCKET
from services.activation_extraction.ranking import rank_by_influence, rank_by_selectivity
from services.activation_extraction.statistics import unit_statistics
from services.common.blobs import Blobs, ObjectRef
from services.imaging.manifests import (
    RANKING_SCHEMA,
    STATISTICS_SCHEMA,
    TAILS,
    ExtractedLayer,
    put_content,
    put_content_file,
    write_table,
)
from services.imaging.tensors import Tensors


@dataclass(frozen=True)
class Store:
    """Stores results below `folder` of the bucket, with temporary files in `scratch`. It calls `heartbeat` after each
    object."""

    blobs: Blobs
    folder: str
    scratch: Path
    heartbeat: Callable[[], None]

    def tensors(self, name: str, tensors: dict[str, Tensor]) -> ObjectRef:
        """Store tensors without a second copy in memory."""
        ref = put_tensors(self.blobs, f"{self.folder}/{name}.safetensors", tensors, self.scratch)
        self.heartbeat()
        return ref

    def table(self, name: str, rows: list[dict[str, Any]], schema: Any) -> ObjectRef:
        """Store rows as a table."""
        ref = put_content(self.blobs, BUCKET, f"{self.folder}/{name}.parquet", write_table(rows, schema))
        self.heartbeat()
        return ref


@dataclass(frozen=True)
class ShardedLayer:
    """The results of a layer, as the shards stored them: their states, and the matrices of their maxima. `labels` are
    the (patches,) labels of the matrices' rows, from 0 to `classes` - 1."""

    name: str
    module: str
    states: Sequence[Tensors]
    matrices: Matrices
    labels: NDArray[np.int64]
    classes: int


def put_tensors(blobs: Blobs, key: str, tensors: dict[str, Tensor], scratch: Path) -> ObjectRef:
    """Store tensors through a temporary file."""
    return put_content_file(blobs, BUCKET, key, scratch, lambda path: save_file(tensors, path))


def store_layer(store: Store, layer: ShardedLayer, properties: LayerProperties, top_k: int) -> ExtractedLayer:
    """Merge and store the results of a layer. Apart from the patch ids, memory does not grow with the number of
    patches."""
    top = merge_top(layer.states, layer.name, top_k)
    units, _, height, width = top["maps"].shape
    refs = {"top": store.tensors("top", top)}
    del top
    refs["sample"] = store.tensors("sample", merge_sample(layer.states, layer.name))
    correlation = correlate(layer.matrices)
    refs["correlation"] = store.tensors("correlation", {"correlation": torch.from_numpy(correlation).half()})
    rows = _statistics(layer, correlation)
    if properties.weights is None:
        method, ranking = "selectivity", rank_by_selectivity([row["auc_by_class"] for row in rows])
    else:
        method, ranking = "influence", rank_by_influence(layer.matrices.blocks(), properties.weights)
    refs["statistics"] = store.table("statistics", rows, STATISTICS_SCHEMA)
    refs["ranking"] = store.table("ranking", ranking, RANKING_SCHEMA)
    return ExtractedLayer(
        name=layer.name,
        module=layer.module,
        units=units,
        height=height,
        width=width,
        field=properties.field,
        maxima=tuple(layer.matrices.refs),
        ranking_method=method,
        **refs,
    )


def _statistics(layer: ShardedLayer, correlation: NDArray[np.float64]) -> list[dict[str, Any]]:
    """The rows of STATISTICS_SCHEMA for a layer."""
    rows = [
        row
        for first, columns in layer.matrices.column_blocks()
        for row in unit_statistics(columns, layer.labels, layer.classes, first)
    ]
    exceeded = thresholds(merge_histogram(layer.states, layer.name), TAILS).tolist()
    similar = similarities(correlation)
    return [
        row
        | {"thresholds": threshold}
        | {"similar": like.units, "similarity": like.correlations, "duplicate_of": like.duplicate_of}
        for row, threshold, like in zip(rows, exceeded, similar, strict=True)
    ]
