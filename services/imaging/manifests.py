"""What extraction and rendering write last, and what the next service reads first. Knows no torch."""

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
"""Fractions at which the distribution of a unit's maxima is told."""

TAILS = (0.05, 0.01, 0.005, 0.001)
"""Shares of all places of all maps that are to lie above a threshold; 0.005 is that of network dissection."""

EXTRACTION_FORMAT = 2

LARGEST_TABLE = 16 << 30
"""Bytes of a table unpacked: an index of a hundred million patches."""

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
"""A row a unit, over the spatial maxima of a split: `active` is the share of patches above zero (one less is the unit's
sparsity), `quantiles` are those at QUANTILES, `auc_by_class` how well the unit alone tells each class from the rest
(null where the split lacks one side), `mean_by_class` and `quantiles_by_class` the same over the patches of one class
(null where there are none). `thresholds` are the activations that the shares TAILS of all places of all maps exceed.
`similar` are other units by falling correlation of maxima, `similarity` these correlations, `duplicate_of` the lowest
unit of which this is a near-duplicate, or null."""

RANKING_SCHEMA = pa.schema(
    [
        ("label", pa.int32()),
        ("rank", pa.int32()),
        ("unit", pa.int32()),
        ("score", pa.float64()),
        ("count", pa.int64()),
    ]
)
"""Units by influence on a class, rank from 1; `count` says on how many images a unit is among the top 8 (null where
the ranking is by selectivity or ablation), `score` is the mean influence, the AUC or the drop of the class's AUC."""

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
"""A row a unit and phenomenon: how well the unit's map above `threshold` agrees with the outlines of the phenomenon,
with a 95% interval of the IoU over patients; `best` marks the phenomenon of the unit's largest IoU."""

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
"""A row a picture, rank from 1; offset and size of its JPEG in the group's pack. The box is that of the patch in its
mammogram, in the mammogram's pixels."""

UNIT_SCHEMA = pa.schema(
    [
        ("unit", pa.int32()),
        ("best", pa.float32()),
        ("silent", pa.bool_()),
        ("sheet_offset", pa.int64()),
        ("sheet_size", pa.int64()),
    ]
)
"""A row a unit; a silent one (best activation not positive) has no pictures and no contact sheet (size 0)."""


class NetworkRef(BaseModel):
    """Which network was looked at."""

    model_config = ConfigDict(frozen=True)

    architecture: str
    classes: tuple[str, ...]
    run_id: str
    checkpoint_id: str
    checkpoint: ObjectRef


class ReceptiveField(BaseModel):
    """What of its input a place of a map sees: at row r and column c the square of `size` pixels of the network's input
    whose upper left corner is `start` + r x `stride`, `start` + c x `stride`; it may reach over the border."""

    model_config = ConfigDict(frozen=True)

    size: int
    stride: float
    start: float


class ExtractedLayer(BaseModel):
    """The results of one layer, as safetensors and Parquet.

    `top` holds values (units, k), ids (units, k), positions (units, k, 2) and maps (units, k, height, width), largest
    first; `sample` the same of patches that were drawn by chance, the same ones for all units: ids (s,), values
    (units, s) and maps (units, s, height, width). `maxima` has one object a shard with ids (n,) and maxima (n, units)
    in fp16; `correlation` the (units, units) of their columns. `field` is None where it is the whole image or unknown.
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
    """An extraction; its presence makes it visible. `image_size` is the side of the network's input in pixels. Reading
    one of an earlier format is InvalidInput: there is less in it than is asked for."""

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
    """What an analysis found of one layer, as a table of the schema of its kind."""

    model_config = ConfigDict(frozen=True)

    name: str
    table: ObjectRef


class AnalysisManifest(BaseModel):
    """An analysis of a completed extraction; its presence makes it visible. The tables of kind `dissection` are of
    DISSECTION_SCHEMA, those of the kinds that rank of RANKING_SCHEMA."""

    model_config = ConfigDict(frozen=True)

    format: int = 1
    analysis_id: str
    extraction_id: str
    extraction: ObjectRef
    kind: str
    settings: dict[str, Any]
    layers: tuple[AnalysedLayer, ...]


class RenderedGroup(BaseModel):
    """Units `first` to `last` of a layer (from 0, both within): their JPEGs in one pack, and two tables over it."""

    model_config = ConfigDict(frozen=True)

    first: int
    last: int
    pack: ObjectRef
    pictures: ObjectRef
    units: ObjectRef


class RenderedLayer(BaseModel):
    """The pictures of one layer, and from the extraction what pages say of its units."""

    model_config = ConfigDict(frozen=True)

    name: str
    units: int
    statistics: ObjectRef
    ranking: ObjectRef
    ranking_method: str
    groups: tuple[RenderedGroup, ...]


class RenderingManifest(BaseModel):
    """A rendering; its presence makes it visible."""

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


def unit_name(channel: int) -> str:
    """The original's name of a unit: channel 0 is `unit_0001`."""
    return f"unit_{channel + 1:04d}"


def put_content(blobs: Blobs, bucket: str, key: str, content: bytes) -> ObjectRef:
    """Put an object whose key holds the hash of its content (`a/b.json` -> `a/b-<16 hex>.json`): a repeated job whose
    bytes differ never overwrites what a record already refers to."""
    stem, _, suffix = key.rpartition(".")
    return blobs.put(bucket, f"{stem}-{hashlib.sha256(content).hexdigest()[:16]}.{suffix}", content)


def put_content_file(blobs: Blobs, bucket: str, key: str, scratch: Path, write: Callable[[Path], object]) -> ObjectRef:
    """As `put_content`, of what `write` writes to a path in `scratch`, without holding it in memory."""
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
    """Rows as a Parquet file."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), buffer, compression="zstd")
    return buffer.getvalue()


def read_table(blobs: Blobs, ref: ObjectRef) -> pa.Table:
    """The table of a reference, verified. InvalidInput if it is none, or unpacks to more than LARGEST_TABLE."""
    name = f"object {ref.bucket}/{ref.key}"
    try:
        file = pq.ParquetFile(io.BytesIO(read_verified(blobs, ref)))
        groups = (file.metadata.row_group(number) for number in range(file.metadata.num_row_groups))
        unpacked = sum(group.total_byte_size for group in groups)
        if unpacked > LARGEST_TABLE:
            raise InvalidInput(f"{name} says that it unpacks to {unpacked} bytes; at most {LARGEST_TABLE} are read")
        return file.read()
    except pa.ArrowException as error:
        raise InvalidInput(f"{name} is no table: {error}") from error
