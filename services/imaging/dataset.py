"""Stored data sets: tar shards of patches, an index, the mammograms, and a manifest that is written last.

A data set is immutable, and its id is a hash of its content. Layout in the bucket of the training service:
`datasets/shards/<sha256>.tar`, `datasets/mammograms/<sha256>.jpg` (and its preview), `datasets/<id>/index.parquet`,
`mammograms.parquet`, `lesions.parquet`, `manifest-<hash>.json`.
"""

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from services.common.blobs import Blobs, ObjectRef
from services.common.blobs.port import read_verified
from services.common.errors import InvalidInput, NotFound
from services.common.redaction import quoted
from services.imaging.licence import Term
from services.imaging.manifests import read_table
from services.imaging.shard_file import NUMBER_DIGITS

INDEX_SCHEMA = pa.schema(
    [
        ("patch_id", pa.int64()),
        ("name", pa.string()),
        ("split", pa.string()),
        ("label", pa.int32()),
        ("patient", pa.string()),
        ("mammogram", pa.string()),
        ("row", pa.int32()),
        ("column", pa.int32()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("phenomenon", pa.string()),
        ("shard", pa.int32()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
    ]
)
MAMMOGRAM_SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("patient", pa.string()),
        ("side", pa.string()),
        ("view", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("key", pa.string()),
        ("sha256", pa.string()),
        ("preview_key", pa.string()),
        ("preview_sha256", pa.string()),
    ]
)
LESION_SCHEMA = pa.schema(
    [
        ("mammogram", pa.string()),
        ("phenomenon", pa.string()),
        ("outline", pa.list_(pa.list_(pa.float32()))),
    ]
)
WORDS = pa.field("words", pa.list_(pa.string()))
"""A further column of the known outlines, if any of them is described in words."""


class Shard(BaseModel):
    """One tar of patches of one split, with the patch ids `first` to `last` inclusive."""

    model_config = ConfigDict(frozen=True)

    object: ObjectRef
    split: str
    first: int
    last: int


class DatasetManifest(BaseModel):
    """The description of a data set. The data set exists once its manifest is stored."""

    model_config = ConfigDict(frozen=True)

    format: int = 1
    dataset_id: str
    name: str
    notice: str
    """A notice that every page with these patches shows; may be empty."""
    classes: tuple[str, ...]
    splits: dict[str, int]
    mammogram_count: int
    shards: tuple[Shard, ...]
    index: ObjectRef
    mammograms: ObjectRef
    lesions: ObjectRef
    card: ObjectRef | None = None
    """The data card, if the data set was cut from raw mammograms (see `licence.DataCard`)."""
    report: ObjectRef | None = None
    """What the import dropped, mended and flagged."""
    terms: tuple[Term, ...] = ()
    """Terms of the source's licence, which also bind what is made of the data set."""


class Dataset:
    """A stored data set, open for reading."""

    def __init__(self, blobs: Blobs, manifest: DatasetManifest) -> None:
        self._blobs = blobs
        self.manifest = manifest

    @classmethod
    def open(cls, blobs: Blobs, manifest: ObjectRef) -> "Dataset":
        """Open a data set by its manifest. NotFound or InvalidInput if the stored manifest does not match
        `manifest`."""
        return cls(blobs, DatasetManifest.model_validate_json(read_verified(blobs, manifest)))

    @cached_property
    def index(self) -> pa.Table:
        """One row per patch (see INDEX_SCHEMA); the row number is the patch id."""
        return self._table(self.manifest.index)

    @cached_property
    def mammograms(self) -> dict[str, dict[str, object]]:
        """The mammograms by name (see MAMMOGRAM_SCHEMA)."""
        return {row["name"]: row for row in self._table(self.manifest.mammograms).to_pylist()}

    @cached_property
    def lesions(self) -> list[dict[str, object]]:
        """The known outlines (see LESION_SCHEMA and WORDS)."""
        rows: list[dict[str, object]] = self._table(self.manifest.lesions).to_pylist()
        return rows

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """The labels of all patches, by patch id."""
        labels: NDArray[np.int64] = self.index["label"].to_numpy().astype(np.int64)
        return labels

    def shards(self, split: str) -> list[Shard]:
        """Return the shards of a split, in the order of their patch ids. InvalidInput if there is no such split."""
        found = [shard for shard in self.manifest.shards if shard.split == split]
        if not found:
            raise InvalidInput(
                f"data set {self.manifest.name} has no split {quoted(split)}; it has {', '.join(self.manifest.splits)}"
            )
        return found

    def ids(self, split: str) -> NDArray[np.int64]:
        """Return the ids of the patches of a split, in order. InvalidInput if there is no such split."""
        return np.concatenate([np.arange(shard.first, shard.last + 1) for shard in self.shards(split)])

    def stream(self, shard: Shard) -> Iterator[tuple[int, bytes]]:
        """Yield id and encoded bytes of each patch of a shard, in order. The shard is read once."""
        content = memoryview(read_verified(self._blobs, shard.object))
        offsets = self.index["offset"].slice(shard.first, shard.last - shard.first + 1).to_pylist()
        sizes = self.index["size"].slice(shard.first, shard.last - shard.first + 1).to_pylist()
        for patch_id, offset, size in zip(range(shard.first, shard.last + 1), offsets, sizes, strict=True):
            yield patch_id, bytes(content[offset : offset + size])

    def read(self, patch_id: int) -> bytes:
        """Return the encoded bytes of one patch, with one ranged GET. NotFound if the id does not exist."""
        row = self.index.slice(patch_id, 1).to_pylist()
        if not row:
            raise NotFound(f"data set {self.manifest.name} has no patch {patch_id}")
        shard = self.manifest.shards[row[0]["shard"]].object
        return self._blobs.get_range(shard.bucket, shard.key, row[0]["offset"], row[0]["size"])

    def numbered_from(self, shard: Shard) -> int:
        """Return the number of a shard's first entry (see `ShardFile`)."""
        return int(self._blobs.get_range(shard.object.bucket, shard.object.key, 0, NUMBER_DIGITS))

    def preview(self, mammogram: str) -> bytes:
        """Return the encoded preview of one of the data set's mammograms, verified."""
        facts = self.mammograms[mammogram]
        return self._mammogram_object(str(facts["preview_key"]), str(facts["preview_sha256"]))

    def full(self, mammogram: str) -> bytes:
        """Return the encoded image of one of the data set's mammograms, verified."""
        facts = self.mammograms[mammogram]
        return self._mammogram_object(str(facts["key"]), str(facts["sha256"]))

    def _mammogram_object(self, key: str, sha256: str) -> bytes:
        ref = ObjectRef(bucket=self.manifest.mammograms.bucket, key=key, sha256=sha256, size=0)
        return read_verified(self._blobs, ref)

    def _table(self, ref: ObjectRef) -> pa.Table:
        return read_table(self._blobs, ref)


class LocalPatches:
    """Random access to the patches of a split, in memory-mapped local copies of its shards."""

    def __init__(self, dataset: Dataset, blobs: Blobs, split: str, folder: Path) -> None:
        index = dataset.index
        self._offsets = index["offset"].to_numpy()
        self._sizes = index["size"].to_numpy()
        self._shard_of = index["shard"].to_numpy()
        self._maps: dict[int, np.memmap[tuple[int], np.dtype[np.uint8]]] = {}
        self.ids: NDArray[np.int64]
        ids: list[NDArray[np.int64]] = []
        for number, shard in enumerate(dataset.manifest.shards):
            if shard.split == split:
                path = fetch_object(blobs, shard.object, folder)
                self._maps[number] = np.memmap(path, dtype=np.uint8, mode="r")
                ids.append(np.arange(shard.first, shard.last + 1))
        if not ids:
            dataset.shards(split)
        self.ids = np.concatenate(ids)

    def read(self, patch_id: int) -> bytes:
        """Return the encoded bytes of one patch."""
        offset = self._offsets[patch_id]
        return self._maps[int(self._shard_of[patch_id])][offset : offset + self._sizes[patch_id]].tobytes()


def fetch_object(blobs: Blobs, ref: ObjectRef, folder: Path) -> Path:
    """Return the path of a local copy of an object, whose file name is the object's hash. The object is fetched only if
    there is no copy yet. InvalidInput if the object differs from the reference.

    Each call renews the copy's time stamp, so that the removal of old files spares it.
    """
    path = folder / ref.sha256
    with suppress(FileNotFoundError):
        if path.stat().st_size == ref.size:
            os.utime(path)
            return path
    # Layers with equal matrices are merged at the same time: each thread fetches the same bytes into a file of its own.
    fetched = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    blobs.get_file(ref.bucket, ref.key, fetched)
    with fetched.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != ref.sha256:
        fetched.unlink()
        raise InvalidInput(f"object {ref.bucket}/{ref.key} has sha256 {found}; expected {ref.sha256}")
    return fetched.replace(path)
