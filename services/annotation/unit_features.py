"""Reads how strongly the units of a layer respond to the pictures of some of its units, from the extraction."""

from collections.abc import Collection, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from services.common.blobs import Blobs, ObjectRef
from services.common.blobs.port import read_verified
from services.common.errors import InvalidInput
from services.imaging.manifests import (
    ExtractedLayer,
    ExtractionManifest,
    RenderedLayer,
    RenderingManifest,
    read_table,
)
from services.imaging.tensors import Tensors

LARGEST_HALF = 65504.0
"""The largest number of 16 bits. Maxima above it are stored as infinity."""

Features = NDArray[np.float64]
Rows = NDArray[np.float32]


def features_of_pictures(
    blobs: Blobs, rendering: ObjectRef, units: Mapping[str, Collection[int]]
) -> Iterator[tuple[tuple[str, int], Features]]:
    """Yield units by layer (layer, channel), each with the features of its pictures by rank: (pictures, other units).

    A feature is the largest activation of another unit of the layer on the patch, divided by this unit's deviation on
    the split, so that all units count alike. The shards of the extraction are read one after the other.
    """
    manifest = RenderingManifest.model_validate_json(read_verified(blobs, rendering))
    extraction = ExtractionManifest.model_validate_json(read_verified(blobs, manifest.extraction))
    extracted = {layer.name: layer for layer in extraction.layers}
    for layer in manifest.layers:
        wanted = set(units.get(layer.name, ()))
        if not wanted:
            continue
        if layer.name not in extracted:
            raise InvalidInput(f"extraction {extraction.extraction_id} has no layer {layer.name}")
        patches = _patches(blobs, layer, wanted)
        ids = np.unique(np.concatenate(list(patches.values())))
        rows = _maxima(blobs, extracted[layer.name], ids)
        deviations = _deviations(blobs, layer)
        rows = rows[:, deviations > 0] / deviations[deviations > 0]
        columns = np.flatnonzero(deviations > 0)
        for unit in sorted(wanted):
            others = rows[np.searchsorted(ids, patches[unit])][:, columns != unit]
            yield (layer.name, unit), others.astype(np.float64)


def _patches(blobs: Blobs, layer: RenderedLayer, wanted: Collection[int]) -> dict[int, NDArray[np.int64]]:
    """The ids of the patches of units, by rank."""
    found: dict[int, list[int]] = {unit: [] for unit in wanted}
    for group in layer.groups:
        if not any(group.first <= unit <= group.last for unit in wanted):
            continue
        table = read_table(blobs, group.pictures).sort_by([("unit", "ascending"), ("rank", "ascending")])
        for unit, patch_id in zip(table["unit"].to_pylist(), table["patch_id"].to_pylist(), strict=True):
            if unit in found:
                found[unit].append(patch_id)
    return {unit: np.array(ids, np.int64) for unit, ids in found.items()}


def _maxima(blobs: Blobs, layer: ExtractedLayer, ids: NDArray[np.int64]) -> Rows:
    """The maxima (ids, units) of some patches, ascending by id. InvalidInput if the extraction lacks one of them."""
    rows = np.full((len(ids), layer.units), np.nan, np.float32)
    for ref in layer.maxima:
        tensors = _tensors(read_verified(blobs, ref), ref.key)
        known, here, there = np.intersect1d(ids, tensors.all("ids"), return_indices=True)
        if len(known):
            rows[here] = np.minimum(tensors.all("maxima")[there], LARGEST_HALF)
    if np.isnan(rows).any():
        raise InvalidInput(f"the extraction has no activations of some patches of layer {layer.name}")
    return rows


def _tensors(content: bytes, name: str) -> Tensors:
    return Tensors(lambda offset, length: content[offset : offset + length], name)


def _deviations(blobs: Blobs, layer: RenderedLayer) -> Rows:
    """The deviation of each unit's maxima on the split."""
    table = read_table(blobs, layer.statistics).sort_by("unit")
    deviations: Rows = np.nan_to_num(table["deviation"].to_numpy().astype(np.float32))
    return deviations
