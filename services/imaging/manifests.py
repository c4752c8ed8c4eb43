"""What extraction and rendering write last, and what the next service reads first. Knows no torch."""

import hashlib
import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from services.common.blobs import Blobs, ObjectRef
from services.common.blobs.port import read_verified

STATISTICS_SCHEMA = pa.schema(
    [
        ("unit", pa.int32()),
        ("mean", pa.float64()),
        ("deviation", pa.float64()),
        ("minimum", pa.float32()),
        ("maximum", pa.float32()),
        ("active", pa.float64()),
        ("auc_by_class", pa.list_(pa.float64())),
    ]
)
"""A row a unit, over the spatial maxima of a split: `active` is the share of patches above zero, `auc_by_class` how
well the unit alone tells each class from the rest (null where the split lacks one side)."""

RANKING_SCHEMA = pa.schema(
    [
        ("label", pa.int32()),
        ("rank", pa.int32()),
        ("unit", pa.int32()),
        ("score", pa.float64()),
        ("count", pa.int64()),
    ]
)
"""Units by influence on a class, rank from 1; `count` says on how many patches a unit is among the top 8 (null where
the ranking is by selectivity), `score` is the mean influence or the AUC."""

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


class ExtractedLayer(BaseModel):
    """The results of one layer. `top` holds values (units, k), ids (units, k), positions (units, k, 2) and maps
    (units, k, height, width); `maxima` the (patches, units) matrix in fp16, rows in the order of patch ids."""

    model_config = ConfigDict(frozen=True)

    name: str
    module: str
    units: int
    top: ObjectRef
    maxima: ObjectRef
    statistics: ObjectRef
    ranking: ObjectRef
    ranking_method: str


class ExtractionManifest(BaseModel):
    """An extraction; its presence makes it visible."""

    model_config = ConfigDict(frozen=True)

    format: int = 1
    extraction_id: str
    network: NetworkRef
    dataset: ObjectRef
    split: str
    patches: int
    top_k: int
    layers: tuple[ExtractedLayer, ...]


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


def write_table(rows: list[dict[str, Any]], schema: pa.Schema) -> bytes:
    """Rows as a Parquet file."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), buffer, compression="zstd")
    return buffer.getvalue()


def read_table(blobs: Blobs, ref: ObjectRef) -> pa.Table:
    """The table of a reference, verified."""
    return pq.read_table(io.BytesIO(read_verified(blobs, ref)))
