"""Queries about the units of completed extractions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from services.activation_extraction.analyses.queries import AnalysisQueries
from services.activation_extraction.correlation import near_duplicates
from services.activation_extraction.listing import (
    RANKINGS,
    LayerUnits,
    find,
    phenomena_by_unit,
    summarise,
)
from services.activation_extraction.schemas import (
    ClassDistribution,
    PhenomenonView,
    QuantileView,
    Ranking,
    SamplePatch,
    SimilarUnit,
    ThresholdView,
    TopPatch,
    UnitList,
    UnitsQuery,
    UnitView,
)
from services.activation_extraction.workflow.queries import Queries
from services.common.blobs import ObjectRef
from services.common.blobs.port import read_verified
from services.common.errors import NotFound
from services.common.machine.cache import BoundedCache
from services.common.redaction import quoted
from services.imaging.dataset import Dataset
from services.imaging.manifests import (
    QUANTILES,
    TAILS,
    AnalysisManifest,
    ExtractedLayer,
    ExtractionManifest,
    read_table,
)
from services.imaging.tensors import stored_tensors
from services.imaging.units import unit_name

MAX_LAYERS = 16
"""Layers whose units stay in memory. A layer of 2,048 units needs a few megabytes."""
MAX_MANIFESTS = 64
"""Analyses whose layers stay in memory."""
MAX_INDEXES = 4
"""Data sets whose index of patches stays in memory."""


@dataclass(frozen=True)
class Layer:
    """A layer of an extraction, with the tables of its analyses by kind."""

    extraction: ExtractionManifest
    results: ExtractedLayer
    analyses: Mapping[str, ObjectRef]


@dataclass
class Units:
    """The queries, over the ports."""

    queries: Queries
    analyses: AnalysisQueries
    _layers: BoundedCache[LayerUnits] = field(default_factory=lambda: BoundedCache(MAX_LAYERS, lambda _: 1))
    _tables: BoundedCache[pa.Table] = field(default_factory=lambda: BoundedCache(MAX_LAYERS, lambda _: 1))
    _manifests: BoundedCache[dict[str, ObjectRef]] = field(
        default_factory=lambda: BoundedCache(MAX_MANIFESTS, lambda _: 1)
    )
    _indexes: BoundedCache[pa.Table] = field(default_factory=lambda: BoundedCache(MAX_INDEXES, lambda _: 1))

    def query(self, extraction_id: str, layer: str, query: UnitsQuery) -> UnitList:
        """The units of a layer that a query finds. NotFound, Conflict or InvalidInput name what exists instead."""
        opened = self._open(extraction_id, layer)
        units = self._summaries(opened)
        found = find(units, query)
        return UnitList(
            layer=layer,
            classes=list(units.classes),
            ranking_method=opened.results.ranking_method,
            rankings=list(units.rankings),
            dissected=units.dissected,
            units=found[query.offset : query.offset + query.limit],
            total=len(found),
            order=[unit.unit for unit in found],
        )

    def get(self, extraction_id: str, layer: str, unit: int) -> UnitView:
        """Everything that is recorded about one unit, given by its channel. NotFound names the units that exist."""
        opened = self._open(extraction_id, layer)
        if not 0 <= unit < opened.results.units:
            last = unit_name(opened.results.units - 1)
            raise NotFound(f"layer {layer} has no {unit_name(unit)}; its units are unit_0001 to {last}")
        units, duplicates = self._summaries(opened), self._duplicates(opened, unit)
        row = self._table(opened.results.statistics).slice(unit, 1).to_pylist()[0]
        return UnitView(
            **units.units[unit].model_dump(),
            layer=layer,
            minimum=row["minimum"],
            quantiles=_quantiles(row["quantiles"]),
            thresholds=[
                ThresholdView(share=share, activation=value)
                for share, value in zip(TAILS, row["thresholds"], strict=True)
            ],
            classes=_distributions(units.classes, row),
            similar=[
                SimilarUnit(unit=other, name=unit_name(other), correlation=correlation)
                for other, correlation in zip(row["similar"], row["similarity"], strict=True)
            ],
            duplicates=duplicates,
            duplicate_names=[unit_name(other) for other in duplicates],
            dissection=self._phenomena(opened, unit),
            top=self._top(opened, unit),
            sample=self._sample(opened, unit),
        )

    def _open(self, extraction_id: str, layer: str) -> Layer:
        manifest = self.queries.manifest(extraction_id)
        found = next((one for one in manifest.layers if one.name == layer), None)
        if found is None:
            names = ", ".join(one.name for one in manifest.layers)
            raise NotFound(f"extraction {extraction_id} has no layer {quoted(layer)}; it has {names}")
        return Layer(manifest, found, self._analysis_tables(extraction_id, layer))

    def _analysis_tables(self, extraction_id: str, layer: str) -> dict[str, ObjectRef]:
        """The table of a layer by kind of analysis, from the newest completed analysis that includes the layer."""
        found: dict[str, ObjectRef] = {}
        for kind, ref in self.analyses.completed(extraction_id):
            tables = self._manifests.get(ref.sha256, partial(self._read_tables, ref))
            if kind not in found and layer in tables:
                found[kind] = tables[layer]
        return found

    def _read_tables(self, ref: ObjectRef) -> dict[str, ObjectRef]:
        content = read_verified(self.queries.ports.blobs, ref)
        return {one.name: one.table for one in AnalysisManifest.model_validate_json(content).layers}

    def _summaries(self, layer: Layer) -> LayerUnits:
        results, analyses = layer.results, layer.analyses
        rankings: dict[Ranking, ObjectRef] = {"own": results.ranking}
        rankings |= {kind: analyses[kind] for kind in RANKINGS if kind in analyses}
        dissection = analyses.get("dissection")
        key = (
            results.statistics.sha256,
            *((kind, ref.sha256) for kind, ref in rankings.items()),
            dissection.sha256 if dissection is not None else "",
        )
        blobs = self.queries.ports.blobs
        return self._layers.get(
            key,
            lambda: summarise(
                results.name,
                layer.extraction.network.classes,
                self._table(results.statistics),
                {kind: read_table(blobs, ref) for kind, ref in rankings.items()},
                self._table(dissection) if dissection is not None else None,
            ),
        )

    def _phenomena(self, layer: Layer, unit: int) -> list[PhenomenonView]:
        """The agreement of a unit with each phenomenon, largest IoU first."""
        ref = layer.analyses.get("dissection")
        if ref is None:
            return []
        table = self._table(ref)
        return phenomena_by_unit(table.filter(pc.equal(table["unit"], unit)))[unit]

    def _duplicates(self, layer: Layer, unit: int) -> list[int]:
        state = stored_tensors(self.queries.ports.blobs, layer.results.correlation)
        return near_duplicates(state.rows("correlation", unit, unit)[0], unit)

    def _top(self, layer: Layer, unit: int) -> list[TopPatch]:
        """The patches with a unit's largest maxima. Only the unit's own rows of the state are read."""
        state = stored_tensors(self.queries.ports.blobs, layer.results.top)
        values, ids, positions = (state.rows(name, unit, unit)[0] for name in ("values", "ids", "positions"))
        return [
            TopPatch(rank=rank, value=float(value), row=int(row), column=int(column), **patch)
            for rank, (value, (row, column), patch) in enumerate(
                zip(values, positions, self._patches(layer, ids), strict=True), 1
            )
        ]

    def _sample(self, layer: Layer, unit: int) -> list[SamplePatch]:
        """The sample patches, largest first, with ties to the lower patch id, as in the rendering service."""
        state = stored_tensors(self.queries.ports.blobs, layer.results.sample)
        values, ids = state.rows("values", unit, unit)[0], state.all("ids")
        patches = self._patches(layer, ids)
        return [
            SamplePatch(rank=rank, value=float(values[number]), **patches[number])
            for rank, number in enumerate(np.lexsort((ids, -values)), 1)
        ]

    def _patches(self, layer: Layer, ids: NDArray[np.int64]) -> list[dict[str, Any]]:
        """The fields of patches in views."""
        index = self._index(layer.extraction).select(["patch_id", "name", "label", "phenomenon", "mammogram"])
        return [row | {"patch": row.pop("name")} for row in index.take(pa.array(ids)).to_pylist()]

    def _index(self, extraction: ExtractionManifest) -> pa.Table:
        ref = extraction.dataset
        return self._indexes.get(ref.sha256, lambda: Dataset.open(self.queries.ports.blobs, ref).index)

    def _table(self, ref: ObjectRef) -> pa.Table:
        return self._tables.get(ref.sha256, lambda: read_table(self.queries.ports.blobs, ref))


def _quantiles(values: list[float] | None) -> list[QuantileView]:
    return [
        QuantileView(fraction=fraction, value=value) for fraction, value in zip(QUANTILES, values or [], strict=False)
    ]


def _distributions(classes: tuple[str, ...], row: dict[str, Any]) -> list[ClassDistribution]:
    columns = zip(classes, row["auc_by_class"], row["mean_by_class"], row["quantiles_by_class"], strict=True)
    return [
        ClassDistribution(label=label, class_name=name, auc=auc, mean=mean, quantiles=_quantiles(quantiles))
        for label, (name, auc, mean, quantiles) in enumerate(columns)
    ]
