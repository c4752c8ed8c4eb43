"""A small completed extraction with known numbers."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
from fastapi import FastAPI
from numpy.typing import NDArray
from safetensors.numpy import save

from services.activation_extraction.analyses.api import add_analysis_routes
from services.activation_extraction.analyses.queries import AnalysisQueries
from services.activation_extraction.analyses.workflow import Analyses
from services.activation_extraction.api import add_routes
from services.activation_extraction.tables import AnalysisRow, Base, ExtractionRow
from services.activation_extraction.workflow.extractions import Extractions
from services.activation_extraction.workflow.queries import Queries
from services.activation_extraction.workflow.units import Units
from services.common.blobs import Blobs, ObjectRef
from services.common.http.app import create_app
from services.common.http.streams import Streams
from services.imaging.dataset import Dataset
from services.imaging.manifests import (
    DETECTION_SCHEMA,
    DISSECTION_SCHEMA,
    QUANTILES,
    RANKING_SCHEMA,
    STATISTICS_SCHEMA,
    TAILS,
    AnalysedLayer,
    AnalysisManifest,
    ExtractedLayer,
    ExtractionManifest,
    NetworkRef,
    write_table,
)
from tests.fakes.data import store_dataset
from tests.fakes.ports import World

CLASSES = ("normal", "benign", "cancer")
UNITS = 6
SILENT = 5
TOP = 4
SAMPLE = 5
MAXIMA = (1.0, 3.0, 2.0, 2.0, 0.5, 0.0)
AUCS = ((0.5, None, 0.6), (0.4, None, 0.9), (0.3, None, 0.7), (0.2, None, 0.7), (0.1, None, None), (0.5, None, 0.5))
RANKED = {0: (4, 3, 2, 1, 0, 5), 2: (1, 2, 3, 0, 4)}
"""Channels by rank for two of the classes. Channel 5 has no rank for cancer."""


class Extracted(World):
    """The queries of the service, over one completed extraction."""

    def __init__(self, folder: Path, layer: str = "layer4") -> None:
        super().__init__(folder, Base.metadata)
        self.manifest, ref = store_extraction(self.blobs, folder, layer)
        with self.ports.records.transaction() as session:
            session.add(
                ExtractionRow(
                    extraction_id="extraction-1",
                    run_id="run-1",
                    dataset=self.manifest.dataset,
                    checkpoint=self.manifest.network.checkpoint,
                    split="val",
                    layers=[layer],
                    top_k=TOP,
                    batch_size=4,
                    shards=1,
                    patches=9,
                    state="completed",
                    manifest=ref,
                )
            )
        self.queries = Queries(self.ports)
        self.units = Units(self.queries, AnalysisQueries(self.ports))

    def analyse(self, kind: str, number: int, layers: tuple[str, ...] = ("layer4",)) -> None:
        """Record a completed analysis of some layers. One with a larger `number` is newer."""
        ref = store_analysis(self.blobs, f"analysis-{number}", kind, layers)
        with self.ports.records.transaction() as session:
            session.add(
                AnalysisRow(
                    analysis_id=f"analysis-{number}",
                    extraction_id="extraction-1",
                    kind=kind,
                    settings={},
                    extraction=ref,
                    pieces=1,
                    state="completed",
                    manifest=ref,
                    created=datetime(2026, 1, 1, number, tzinfo=UTC),
                )
            )

    def app(self) -> FastAPI:
        """The HTTP API of the queries."""
        app = create_app("activation_extraction", lambda: True)
        add_analysis_routes(app, Mock(spec=Analyses), AnalysisQueries(self.ports), Streams())
        add_routes(app, Mock(spec=Extractions), self.queries, self.units, Streams())
        return app


def store_extraction(blobs: Blobs, folder: Path, layer: str) -> tuple[ExtractionManifest, ObjectRef]:
    """Store an extraction of one layer of six units over nine patches. Class `benign` has no AUC."""
    data, dataset = store_dataset(blobs, folder / "ddsm", {"train": 3, "val": 9})
    checkpoint = blobs.put("training", "checkpoint.json", b"{}")
    manifest = ExtractionManifest(
        extraction_id="extraction-1",
        network=NetworkRef(
            architecture="test_resnet",
            classes=CLASSES,
            run_id="run-1",
            checkpoint_id="checkpoint-1",
            checkpoint=checkpoint,
        ),
        image_size=64,
        dataset=dataset,
        split="val",
        patches=9,
        top_k=TOP,
        layers=(_store_layer(blobs, data, layer),),
    )
    body = manifest.model_dump_json().encode()
    return manifest, blobs.put("activation-extraction", "extractions/extraction-1/manifest.json", body)


def store_analysis(blobs: Blobs, analysis_id: str, kind: str, layers: tuple[str, ...]) -> ObjectRef:
    """Store an analysis of some layers: a dissection of channels 1 and 2, a detection, or a ranking for cancer."""
    if kind == "dissection":
        rows = [phenomenon(1, "mass", 0.2), phenomenon(1, "vessel", 0.4, best=True)]
        table = write_table([*rows, phenomenon(2, "mass", 0.6, best=True)], DISSECTION_SCHEMA)
    elif kind == "detection":
        table = write_table(detection_rows(), DETECTION_SCHEMA)
    else:
        table = write_table(ranking_rows({2: (5, 1)}), RANKING_SCHEMA)
    ref = blobs.put("activation-extraction", f"analyses/{analysis_id}/table.parquet", table)
    manifest = AnalysisManifest(
        analysis_id=analysis_id,
        extraction_id="extraction-1",
        extraction=ref,
        kind=kind,
        settings={},
        layers=tuple(AnalysedLayer(name=name, table=ref) for name in layers),
    )
    body = manifest.model_dump_json().encode()
    return blobs.put("activation-extraction", f"analyses/{analysis_id}/manifest.json", body)


def phenomenon(unit: int, name: str, iou: float, best: bool = False) -> dict[str, Any]:
    """A row of DISSECTION_SCHEMA."""
    interval = {"iou": iou, "iou_low": iou - 0.1, "iou_high": iou + 0.1}
    return {
        "unit": unit,
        "phenomenon": name,
        "threshold": 0.5,
        "precision": 0.5,
        "recall": 0.5,
        "best": best,
    } | interval


def detection_rows() -> list[dict[str, Any]]:
    """Rows of DETECTION_SCHEMA: channel 0 detects spiculated masses, channel 1 does not, and nobody knows of channel 2.
    Channels 0 and 1 have a machine name."""
    verdicts = {0: ("verified", "refuted"), 1: ("refuted", "verified"), 2: ("unverified", "unverified")}
    rows = []
    for unit, of_unit in verdicts.items():
        for concept, verdict in zip(("spiculated mass", "vessel"), of_unit, strict=True):
            rows.append(detection_row(unit, concept, verdict))
        if unit < 2:
            rows.append(detection_row(unit, "mass AND NOT vessel", "verified", machine=True))
    return rows


def detection_row(unit: int, concept: str, verdict: str, machine: bool = False) -> dict[str, Any]:
    """A row of DETECTION_SCHEMA with intervals, unless the unit is unverified."""
    value = {"verified": 0.8, "unverified": 0.3, "refuted": 0.05}[verdict]
    row: dict[str, Any] = {"unit": unit, "concept": concept, "machine": machine, "verdict": verdict}
    for score in ("correlation", "f1", "iou", "auprc"):
        ends = (None, None) if verdict == "unverified" else (value - 0.04, value + 0.04)
        row |= {score: value, f"{score}_low": ends[0], f"{score}_high": ends[1]}
    return row | {"p": 0.01, "q": 0.02, "floor": 0.2, "random": 0.18, "sham": 0.1, "patients": 9, "patches": 40}


def correlation() -> NDArray[np.float16]:
    """Correlations in which channels 2 and 3 are near-duplicates, and channel 5 never changes."""
    found = np.eye(UNITS, dtype=np.float16)
    found[2, 3] = found[3, 2] = 0.97
    found[SILENT, SILENT] = 0
    return found


def statistics_row(unit: int) -> dict[str, Any]:
    """A row of STATISTICS_SCHEMA. Channel 3 is a near-duplicate of channel 2."""
    most = MAXIMA[unit]
    quantiles = [most * fraction for fraction in QUANTILES]
    return {
        "unit": unit,
        "mean": most / 2,
        "deviation": most / 4,
        "minimum": 0.0,
        "maximum": most,
        "active": most / 4,
        "quantiles": quantiles,
        "thresholds": [most * (1 - share) for share in TAILS],
        "auc_by_class": AUCS[unit],
        "mean_by_class": [most / 2, None, most / 2],
        "quantiles_by_class": [quantiles, None, quantiles],
        "similar": [3, 0] if unit == 2 else [0],
        "similarity": [0.99, 0.3] if unit == 2 else [0.1],
        "duplicate_of": 2 if unit == 3 else None,
    }


def ranking_rows(order: dict[int, tuple[int, ...]] = RANKED) -> list[dict[str, Any]]:
    """Rows of RANKING_SCHEMA, from channels by rank for some classes."""
    return [
        {"label": label, "rank": rank, "unit": unit, "score": 1 / rank, "count": 10 - rank}
        for label, units in order.items()
        for rank, unit in enumerate(units, 1)
    ]


def _store_layer(blobs: Blobs, data: Dataset, layer: str) -> ExtractedLayer:
    ids = np.asarray([row["patch_id"] for row in data.index.to_pylist() if row["split"] == "val"])
    values = np.linspace(1, 0.5, TOP, dtype=np.float32)
    top = {
        "values": np.asarray(MAXIMA, np.float32)[:, None] * values,
        "ids": np.stack([np.roll(ids, unit)[:TOP] for unit in range(UNITS)]),
        "positions": np.zeros((UNITS, TOP, 2), np.int32),
        "maps": np.ones((UNITS, TOP, 2, 2), np.float16),
    }
    sample = {
        "ids": ids[:SAMPLE],
        "values": np.tile(np.asarray([0.1, 0.5, 0.3, 0.5, 0.2], np.float32), (UNITS, 1)),
        "maps": np.ones((UNITS, SAMPLE, 2, 2), np.float16),
    }

    def put(name: str, content: bytes) -> ObjectRef:
        return blobs.put("activation-extraction", f"extractions/extraction-1/{layer}/{name}", content)

    return ExtractedLayer(
        name=layer,
        module=layer,
        units=UNITS,
        height=2,
        width=2,
        top=put("top.safetensors", save(top)),
        sample=put("sample.safetensors", save(sample)),
        maxima=(),
        correlation=put("correlation.safetensors", save({"correlation": correlation()})),
        statistics=put("statistics.parquet", write_table([statistics_row(n) for n in range(UNITS)], STATISTICS_SCHEMA)),
        ranking=put("ranking.parquet", write_table(ranking_rows(), RANKING_SCHEMA)),
        ranking_method="influence",
    )
