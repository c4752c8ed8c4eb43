"""Data sets as stored: tar shards of patches, an index, mammograms beside them, and a manifest written last.

A data set is immutable and named by the hash of its content. Layout, in the bucket of the training service:
`datasets/shards/<sha256>.tar`, `datasets/mammograms/<sha256>.jpg` (and its preview), `datasets/<id>/index.parquet`,
`mammograms.parquet`, `lesions.parquet`, `manifest-<hash>.json`.
"""

import hashlib
import os
import tarfile
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
from services.imaging.manifests import read_table

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


class Shard(BaseModel):
    """One tar of patches of one split; patch ids `first` to `last`, both within."""

    model_config = ConfigDict(frozen=True)

    object: ObjectRef
    split: str
    first: int
    last: int


class DatasetManifest(BaseModel):
    """What a data set is; its presence makes the data set visible."""

    model_config = ConfigDict(frozen=True)

    format: int = 1
    dataset_id: str
    name: str
    notice: str
    """What every page that shows these patches says of them; empty for data that needs no word."""
    classes: tuple[str, ...]
    splits: dict[str, int]
    mammogram_count: int
    shards: tuple[Shard, ...]
    index: ObjectRef
    mammograms: ObjectRef
    lesions: ObjectRef


class Dataset:
    """A data set open for reading."""

    def __init__(self, blobs: Blobs, manifest: DatasetManifest) -> None:
        self._blobs = blobs
        self.manifest = manifest

    @classmethod
    def open(cls, blobs: Blobs, manifest: ObjectRef) -> "Dataset":
        """The data set of a manifest. NotFound or InvalidInput if it is not what the reference says."""
        return cls(blobs, DatasetManifest.model_validate_json(read_verified(blobs, manifest)))

    @cached_property
    def index(self) -> pa.Table:
        """One row a patch (see INDEX_SCHEMA), row number = patch id."""
        return self._table(self.manifest.index)

    @cached_property
    def mammograms(self) -> dict[str, dict[str, object]]:
        """Mammograms by name (see MAMMOGRAM_SCHEMA)."""
        return {row["name"]: row for row in self._table(self.manifest.mammograms).to_pylist()}

    @cached_property
    def lesions(self) -> list[dict[str, object]]:
        """Known outlines (see LESION_SCHEMA)."""
        rows: list[dict[str, object]] = self._table(self.manifest.lesions).to_pylist()
        return rows

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """The label of every patch, by patch id."""
        labels: NDArray[np.int64] = self.index["label"].to_numpy().astype(np.int64)
        return labels

    def shards(self, split: str) -> list[Shard]:
        """The shards of a split, in the order of their patch ids. InvalidInput names a split that is not there."""
        found = [shard for shard in self.manifest.shards if shard.split == split]
        if not found:
            raise InvalidInput(
                f"data set {self.manifest.name} has no split {split!r}; it has {', '.join(self.manifest.splits)}"
            )
        return found

    def ids(self, split: str) -> NDArray[np.int64]:
        """The ids of the patches of a split, in order. InvalidInput names a split that is not there."""
        return np.concatenate([np.arange(shard.first, shard.last + 1) for shard in self.shards(split)])

    def stream(self, shard: Shard) -> Iterator[tuple[int, bytes]]:
        """Patch id and encoded bytes of each patch of a shard in order, from one read of the shard."""
        content = memoryview(read_verified(self._blobs, shard.object))
        offsets = self.index["offset"].slice(shard.first, shard.last - shard.first + 1).to_pylist()
        sizes = self.index["size"].slice(shard.first, shard.last - shard.first + 1).to_pylist()
        for patch_id, offset, size in zip(range(shard.first, shard.last + 1), offsets, sizes, strict=True):
            yield patch_id, bytes(content[offset : offset + size])

    def read(self, patch_id: int) -> bytes:
        """The encoded bytes of one patch, by one ranged get."""
        row = self.index.slice(patch_id, 1).to_pylist()
        if not row:
            raise NotFound(f"data set {self.manifest.name} has no patch {patch_id}")
        shard = self.manifest.shards[row[0]["shard"]].object
        return self._blobs.get_range(shard.bucket, shard.key, row[0]["offset"], row[0]["size"])

    def preview(self, mammogram: str) -> bytes:
        """The encoded preview of a mammogram that the data set has, verified."""
        facts = self.mammograms[mammogram]
        key, sha256 = str(facts["preview_key"]), str(facts["preview_sha256"])
        ref = ObjectRef(bucket=self.manifest.mammograms.bucket, key=key, sha256=sha256, size=0)
        return read_verified(self._blobs, ref)

    def _table(self, ref: ObjectRef) -> pa.Table:
        return read_table(self._blobs, ref)


class LocalPatches:
    """Random access to the patches of a split from local copies of its shards, memory-mapped."""

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
        """The encoded bytes of one patch."""
        offset = self._offsets[patch_id]
        return self._maps[int(self._shard_of[patch_id])][offset : offset + self._sizes[patch_id]].tobytes()


def fetch_object(blobs: Blobs, ref: ObjectRef, folder: Path) -> Path:
    """A local copy of an object, made once: its name is its hash. InvalidInput if the object is not what the reference
    says. A copy counts as new whenever it is asked for, so that the collector leaves it."""
    path = folder / ref.sha256
    with suppress(FileNotFoundError):
        if path.stat().st_size == ref.size:
            os.utime(path)
            return path
    # Of two threads that want the same bytes each fetches its own: layers with equal matrices are merged at once.
    fetched = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    blobs.get_file(ref.bucket, ref.key, fetched)
    with fetched.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != ref.sha256:
        fetched.unlink()
        raise InvalidInput(f"object {ref.bucket}/{ref.key} has sha256 {found}; expected {ref.sha256}")
    return fetched.replace(path)


def tar_entry(name: str, size: int) -> tarfile.TarInfo:
    """A header that depends on nothing but name and size, so that the same patches make the same shard."""
    entry = tarfile.TarInfo(name)
    entry.size = size
    entry.mode = 0o644
    return entry
