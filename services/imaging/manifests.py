"""The manifests of extractions, analyses and renderings, and the schemas of their tables. Without torch."""

import hashlib
import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, model_validator

from services.common.blobs import Blobs, ObjectRef
from services.common.blobs.port import read_verified
from services.common.errors import InvalidInput

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
"""Fractions at which the quantiles of a unit's maxima are computed."""

TAILS = (0.05, 0.01, 0.005, 0.001)
"""Shares of all positions of all maps that lie above a threshold. Network dissection uses 0.005."""

EXTRACTION_FORMAT = 2

LARGEST_TABLE = 16 << 30
"""Most bytes of an unpacked table: enough for an index of a hundred million patches."""

STATISTICS_SCHEMA = pa.schema(
    [
        ("unit", pa.int32()),
        ("mean", pa.float64()),
        ("deviation", pa.float64()),
        ("minimum", pa.float32()),
        ("maximum", pa.float32()),
        ("active", pa.float64()),
        ("quantiles", pa.list_(pa.float64())),
        ("thresholds", pa.list_(pa.float64())),
        ("auc_by_class", pa.list_(pa.float64())),
        ("mean_by_class", pa.list_(pa.float64())),
        ("quantiles_by_class", pa.list_(pa.list_(pa.float64()))),
        ("similar", pa.list_(pa.int32())),
        ("similarity", pa.list_(pa.float64())),
        ("duplicate_of", pa.int32()),
    ]
)
"""One row per unit, over its spatial maxima on the patches of a split.

`active` is the share of patches with a maximum above zero (1 - active is the unit's sparsity). `quantiles` are taken at
QUANTILES. `auc_by_class` measures how well the unit alone separates each class from the rest (null if the split has
only one side). `mean_by_class` and `quantiles_by_class` cover the patches of one class (null if there are none).
`thresholds` are the activations that the shares TAILS of all positions of all maps exceed. `similar` lists other units
by falling correlation of maxima, and `similarity` these correlations. `duplicate_of` is the lowest unit that this one
nearly duplicates, or null.
"""

RANKING_SCHEMA = pa.schema(
    [
        ("label", pa.int32()),
        ("rank", pa.int32()),
        ("unit", pa.int32()),
        ("score", pa.float64()),
        ("count", pa.int64()),
    ]
)
"""Units by influence on a class, with ranks from 1. `count` is the number of images on which the unit is among the top
8 (null in rankings by selectivity or ablation). `score` is the mean influence, the AUC, or the drop in the class's
AUC."""

DISSECTION_SCHEMA = pa.schema(
    [
        ("unit", pa.int32()),
        ("phenomenon", pa.string()),
        ("threshold", pa.float64()),
        ("iou", pa.float64()),
        ("iou_low", pa.float64()),
        ("iou_high", pa.float64()),
        ("precision", pa.float64()),
        ("recall", pa.float64()),
        ("best", pa.bool_()),
    ]
)
"""One row per unit and phenomenon: how well the unit's map above `threshold` agrees with the phenomenon's outlines,
with a 95% interval of the IoU over patients. `best` marks the phenomenon with the unit's largest IoU."""

_SCORES = [
    (f"{score}{end}", pa.float64()) for score in ("correlation", "f1", "iou", "auprc") for end in ("", "_low", "_high")
]
DETECTION_SCHEMA = pa.schema(
    [
        ("unit", pa.int32()),
        ("concept", pa.string()),
        ("machine", pa.bool_()),
        ("verdict", pa.string()),
        *_SCORES,
        ("p", pa.float64()),
        ("q", pa.float64()),
        ("floor", pa.float64()),
        ("random", pa.float64()),
        ("sham", pa.float64()),
        ("patients", pa.int32()),
        ("patches", pa.int64()),
    ]
)
"""One row per unit and concept, and one for the machine name of a unit: how well the unit detects it on patients whose
patches did not choose the name.

`machine` marks the name that a search chose for the unit; it may combine concepts. The scores have 95% intervals over
patients. `p` is that of the correlation, `q` its false discovery rate over all rows of the layer. `random` and `sham`
are the 95% quantiles of the correlation over the units of networks with random weights, and over sham units. `verdict`
is verified, unverified or refuted; it compares the correlation with `floor`. `patients` and `patches` count those that
show the concept."""

PICTURE_SCHEMA = pa.schema(
    [
        ("unit", pa.int32()),
        ("rank", pa.int32()),
        ("value", pa.float32()),
        ("patch_id", pa.int64()),
        ("patch", pa.string()),
        ("label", pa.int32()),
        ("phenomenon", pa.string()),
        ("mammogram", pa.string()),
        ("row", pa.int32()),
        ("column", pa.int32()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
    ]
)
"""One row per picture, with ranks from 1, and with the offset and size of its JPEG in the group's pack. `row`,
`column`, `height` and `width` are the patch's box in its mammogram, in the mammogram's pixels."""

UNIT_SCHEMA = pa.schema(
    [
        ("unit", pa.int32()),
        ("best", pa.float32()),
        ("silent", pa.bool_()),
        ("sheet_offset", pa.int64()),
        ("sheet_size", pa.int64()),
    ]
)
"""One row per unit. A silent unit (best activation not positive) has no pictures and no contact sheet (size 0)."""


class NetworkRef(BaseModel):
    """The network that was analysed."""

    model_config = ConfigDict(frozen=True)

    architecture: str
    classes: tuple[str, ...]
    run_id: str
    checkpoint_id: str
    checkpoint: ObjectRef


class ReceptiveField(BaseModel):
    """The square of the network's input, in pixels, that affects one position of a map.

    For row r and column c of the map, the square's side is `size`, and its upper left corner is at row `start` + r x
    `stride` and column `start` + c x `stride`. The square may extend beyond the border of the input.
    """

    model_config = ConfigDict(frozen=True)

    size: int
    stride: float
    start: float


class ExtractedLayer(BaseModel):
    """The results for one layer, as safetensors and Parquet.

    `top` holds the top patches: values (units, k), ids (units, k), positions (units, k, 2) and maps (units, k, height,
    width), largest first. `sample` holds the sample patches, drawn at random and the same for all units: ids (s,),
    values (units, s) and maps (units, s, height, width). `maxima` has one object per shard, with ids (n,) and maxima
    (n, units) in fp16. `correlation` is the (units, units) correlation of the columns of the maxima. `field` is None if
    a position sees the full image, or if the field is unknown.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    module: str
    units: int
    height: int
    width: int
    field: ReceptiveField | None = None
    top: ObjectRef
    sample: ObjectRef
    maxima: tuple[ObjectRef, ...]
    correlation: ObjectRef
    statistics: ObjectRef
    ranking: ObjectRef
    ranking_method: str


class ExtractionManifest(BaseModel):
    """The description of an extraction, which exists once its manifest is stored. `image_size` is the side of the
    network's input in pixels. InvalidInput for a manifest of an earlier format, which lacks some of these results."""

    model_config = ConfigDict(frozen=True)

    format: int = EXTRACTION_FORMAT
    extraction_id: str
    network: NetworkRef
    image_size: int
    dataset: ObjectRef
    split: str
    patches: int
    top_k: int
    layers: tuple[ExtractedLayer, ...]

    @model_validator(mode="before")
    @classmethod
    def _require_format(cls, content: Any) -> Any:
        if isinstance(content, dict) and content.get("format", EXTRACTION_FORMAT) != EXTRACTION_FORMAT:
            raise InvalidInput(
                f"extraction {content.get('extraction_id')} is stored in format {content['format']}; "
                f"this version reads format {EXTRACTION_FORMAT}: extract again"
            )
        return content


class AnalysedLayer(BaseModel):
    """The result of an analysis for one layer: a table with the schema for the analysis's kind."""

    model_config = ConfigDict(frozen=True)

    name: str
    table: ObjectRef


class AnalysisManifest(BaseModel):
    """The description of an analysis of a completed extraction. The analysis exists once its manifest is stored. Tables
    of kind `dissection` have DISSECTION_SCHEMA; tables of the kinds that rank units have RANKING_SCHEMA."""

    model_config = ConfigDict(frozen=True)

    format: int = 1
    analysis_id: str
    extraction_id: str
    extraction: ObjectRef
    kind: str
    settings: dict[str, Any]
    layers: tuple[AnalysedLayer, ...]


class RenderedGroup(BaseModel):
    """Units `first` to `last` inclusive of a layer, from 0: their JPEGs in one pack, and two tables that index it."""

    model_config = ConfigDict(frozen=True)

    first: int
    last: int
    pack: ObjectRef
    pictures: ObjectRef
    units: ObjectRef


class RenderedLayer(BaseModel):
    """The pictures of one layer, and the extraction's statistics and ranking, which pages show."""

    model_config = ConfigDict(frozen=True)

    name: str
    units: int
    statistics: ObjectRef
    ranking: ObjectRef
    ranking_method: str
    groups: tuple[RenderedGroup, ...]


class RenderingManifest(BaseModel):
    """The description of a rendering. The rendering exists once its manifest is stored."""

    model_config = ConfigDict(frozen=True)

    format: int = 1
    rendering_id: str
    extraction_id: str
    extraction: ObjectRef
    network: NetworkRef
    dataset: ObjectRef
    split: str
    size: int
    kind: str = "overlay"
    picture_format: str = "jpeg"
    quality: int = 85
    pictures: int
    layers: tuple[RenderedLayer, ...]


def put_content(blobs: Blobs, bucket: str, key: str, content: bytes) -> ObjectRef:
    """Store an object under a key that contains the hash of its content (`a/b.json` -> `a/b-<16 hex>.json`). If a
    repeated job produces other bytes, they never overwrite an object that a record refers to."""
    stem, _, suffix = key.rpartition(".")
    return blobs.put(bucket, f"{stem}-{hashlib.sha256(content).hexdigest()[:16]}.{suffix}", content)


def put_content_file(blobs: Blobs, bucket: str, key: str, scratch: Path, write: Callable[[Path], object]) -> ObjectRef:
    """Store the file that `write` writes below `scratch`, under a key as in `put_content`. It is never in memory."""
    stem, _, suffix = key.rpartition(".")
    descriptor, name = tempfile.mkstemp(f".{suffix}", "put-", scratch)
    os.close(descriptor)
    path = Path(name)
    try:
        write(path)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return blobs.put_file(bucket, f"{stem}-{digest[:16]}.{suffix}", path)
    finally:
        path.unlink()


def write_table(rows: list[dict[str, Any]], schema: pa.Schema) -> bytes:
    """Encode rows as a Parquet file."""
    return encode_table(pa.Table.from_pylist(rows, schema=schema))


def encode_table(table: pa.Table) -> bytes:
    """Encode a table as a Parquet file."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def read_table(blobs: Blobs, ref: ObjectRef) -> pa.Table:
    """Read and verify a table. InvalidInput if it is not a table, or unpacks to more than LARGEST_TABLE bytes."""
    name = f"object {ref.bucket}/{ref.key}"
    try:
        file = pq.ParquetFile(io.BytesIO(read_verified(blobs, ref)))
        groups = (file.metadata.row_group(number) for number in range(file.metadata.num_row_groups))
        unpacked = sum(group.total_byte_size for group in groups)
        if unpacked > LARGEST_TABLE:
            raise InvalidInput(f"{name} declares that it unpacks to {unpacked} bytes; at most {LARGEST_TABLE} are read")
        return file.read()
    except pa.ArrowException as error:
        raise InvalidInput(f"{name} is not a table: {error}") from error
