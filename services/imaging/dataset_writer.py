"""Writing a data set: patches go in, shards and an index come out, and the manifest is written when all is well."""

import hashlib
import io
import json
import tarfile
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from services.common.blobs import Blobs, ObjectRef
from services.common.errors import InvalidInput
from services.imaging.dataset import (
    INDEX_SCHEMA,
    LESION_SCHEMA,
    MAMMOGRAM_SCHEMA,
    DatasetManifest,
    Shard,
    tar_entry,
)
from services.imaging.decode import decode_grey
from services.imaging.manifests import read_table, write_table
from services.imaging.patches import SPLITS, Lesion, Mammogram, Patch

SHARD_PATCHES = 4096
SHARD_BYTES = 256 << 20
UPLOADS_AHEAD = 4
"""Objects that may wait for the store while the next are made."""
PREVIEW_SIDE = 1100
"""Longer side of a mammogram's preview, in pixels."""


class DatasetWriter:
    """Takes patches and gives them ids in the order they come. A shard holds one split, so give them split by split.

    A patient may stand in one split only, unless `shared_patients` admits a published list that leaks.
    As a context manager it leaves nothing behind when the block raises InvalidInput, since such a data set is never
    wanted: what it put is taken away again, unless it was there before, another data set that was finished meanwhile
    refers to it, or another writer, which is not finished, has put it too. After any other error what is there waits
    for the next attempt, or for the collector.
    """

    def __init__(
        self,
        blobs: Blobs,
        bucket: str,
        name: str,
        classes: Sequence[str],
        notice: str = "",
        shard_patches: int = SHARD_PATCHES,
        shared_patients: bool = False,
    ) -> None:
        self._blobs, self._bucket = blobs, bucket
        self._shared_patients = shared_patients
        self._name, self._classes, self._notice = name, tuple(classes), notice
        self._shard_patches = shard_patches
        self._rows: list[dict[str, Any]] = []
        self._mammograms: list[dict[str, Any]] = []
        self._lesions: list[dict[str, Any]] = []
        self._shards: list[Shard] = []
        self._names: set[str] = set()
        self._patients: dict[str, str] = {}
        self._open: _OpenShard | None = None
        self._new: dict[str, datetime] = {}
        self._uploads = ThreadPoolExecutor(1, "upload")
        self._waiting: deque[Future[ObjectRef]] = deque()

    def __enter__(self) -> "DatasetWriter":
        return self

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        if self._open is not None:
            self._open.discard()
        self._uploads.shutdown(cancel_futures=True)
        if isinstance(error, InvalidInput):
            self._take_away()

    def add_mammogram(self, mammogram: Mammogram, lesions: Sequence[Lesion] = ()) -> None:
        """Keep a full mammogram, its preview and its known outlines."""
        preview = _preview(mammogram)
        full = self._keep(f"datasets/mammograms/{_sha(mammogram.image)}.jpg", mammogram.image)
        small = self._keep(f"datasets/previews/{_sha(preview)}.jpg", preview)
        self._mammograms.append(
            {
                "name": mammogram.name,
                "patient": mammogram.patient,
                "side": mammogram.side,
                "view": mammogram.view,
                "height": mammogram.height,
                "width": mammogram.width,
                "key": full.key,
                "sha256": full.sha256,
                "preview_key": small.key,
                "preview_sha256": small.sha256,
            }
        )
        self.add_outlines(lesions)

    def add_outlines(self, lesions: Sequence[Lesion]) -> None:
        """Keep known outlines of mammograms, which need not be kept themselves."""
        self._lesions.extend(
            {
                "mammogram": lesion.mammogram,
                "phenomenon": lesion.phenomenon,
                "outline": [list(p) for p in lesion.outline],
            }
            for lesion in lesions
        )

    def add_patch(self, patch: Patch) -> int:
        """Keep a patch and return its id. InvalidInput names what is wrong with it."""
        self._check(patch)
        if self._open is None or self._open.split != patch.split or self._open.full(self._shard_patches):
            self._close_shard()
            self._open = _OpenShard(patch.split, first=len(self._rows))
        offset = self._open.add(patch)
        patch_id = len(self._rows)
        self._rows.append(
            {
                "patch_id": patch_id,
                "name": patch.name,
                "split": patch.split,
                "label": patch.label,
                "patient": patch.patient,
                "mammogram": patch.mammogram,
                "row": patch.box.row,
                "column": patch.box.column,
                "height": patch.box.height,
                "width": patch.box.width,
                "phenomenon": patch.phenomenon,
                "shard": len(self._shards),
                "offset": offset,
                "size": len(patch.image),
            }
        )
        return patch_id

    def finish(self) -> tuple[DatasetManifest, ObjectRef]:
        """Write index and manifest. The id is the hash of all content, so the same patches are the same data set."""
        self._close_shard()
        splits = Counter(row["split"] for row in self._rows)
        if not splits:
            raise InvalidInput(f"data set {self._name} has no patches")
        tables = [
            write_table(self._rows, INDEX_SCHEMA),
            write_table(self._mammograms, MAMMOGRAM_SCHEMA),
            write_table(self._lesions, LESION_SCHEMA),
        ]
        dataset_id = self._identity(tables)
        folder = f"datasets/{dataset_id}"
        index, mammograms, lesions = (
            self._keep(f"{folder}/{name}.parquet", table)
            for name, table in zip(("index", "mammograms", "lesions"), tables, strict=True)
        )
        manifest = DatasetManifest(
            dataset_id=dataset_id,
            name=self._name,
            notice=self._notice,
            classes=self._classes,
            splits={split: splits[split] for split in SPLITS if split in splits},
            mammogram_count=len(self._mammograms),
            shards=tuple(self._shards),
            index=index,
            mammograms=mammograms,
            lesions=lesions,
        )
        self._finish_uploads()
        body = manifest.model_dump_json(indent=1).encode()
        # Its hash is in its key: another version of this code may say the same content in other words.
        ref = self._keep(f"{folder}/manifest-{_sha(body)[:16]}.json", body)
        self._finish_uploads()
        return manifest, ref

    def _identity(self, tables: Sequence[bytes]) -> str:
        content = {
            "name": self._name,
            "notice": self._notice,
            "classes": self._classes,
            "shards": [shard.object.sha256 for shard in self._shards],
            "tables": [_sha(table) for table in tables],
        }
        return f"dataset-{_sha(json.dumps(content, sort_keys=True).encode())[:12]}"

    def _check(self, patch: Patch) -> None:
        if patch.split not in SPLITS:
            raise InvalidInput(f"patch {patch.name} is in split {patch.split!r}; expected one of {', '.join(SPLITS)}")
        if not 0 <= patch.label < len(self._classes):
            raise InvalidInput(
                f"patch {patch.name} has label {patch.label}; expected 0 to {len(self._classes) - 1} "
                f"({', '.join(self._classes)})"
            )
        if patch.name in self._names:
            raise InvalidInput(f"patch {patch.name} comes twice")
        other = self._patients.setdefault(patch.patient, patch.split)
        if other != patch.split and not self._shared_patients:
            raise InvalidInput(f"patient {patch.patient} is in the splits {other} and {patch.split}; expected one")
        self._names.add(patch.name)

    def _close_shard(self) -> None:
        if self._open is None:
            return
        shard, self._open = self._open, None
        path = shard.close()
        try:
            key = f"datasets/shards/{_sha_of_file(path)}.tar"
            ref = self._put(key, lambda: self._blobs.put_file(self._bucket, key, path))
        finally:
            path.unlink()
        self._shards.append(Shard(object=ref, split=shard.split, first=shard.first, last=len(self._rows) - 1))

    def _keep(self, key: str, content: bytes) -> ObjectRef:
        """Have an object put while the next is made, in their order; a later call raises what its upload raised."""
        if len(self._waiting) == UPLOADS_AHEAD:
            self._waiting.popleft().result()
        put = partial(self._blobs.put, self._bucket, key, content)
        self._waiting.append(self._uploads.submit(self._put, key, put))
        return ObjectRef(bucket=self._bucket, key=key, sha256=_sha(content), size=len(content))

    def _put(self, key: str, put: Callable[[], ObjectRef]) -> ObjectRef:
        """Put an object, also one that is there: its new age tells collector and other writers that it is wanted."""
        existed = self._blobs.stat(self._bucket, key) is not None
        ref = put()
        stored = self._blobs.stat(self._bucket, key)
        if not existed and stored is not None:
            self._new[key] = stored.modified
        return ref

    def _take_away(self) -> None:
        kept = _objects_in_use(self._blobs, self._bucket)
        for key, modified in self._new.items():
            stored = self._blobs.stat(self._bucket, key)
            if key not in kept and stored is not None and stored.modified == modified:
                self._blobs.delete(self._bucket, key)

    def _finish_uploads(self) -> None:
        while self._waiting:
            self._waiting.popleft().result()


class _OpenShard:
    """A tar being written to a local file."""

    def __init__(self, split: str, first: int) -> None:
        self.split, self.first = split, first
        with tempfile.NamedTemporaryFile(prefix="shard-", suffix=".tar", delete=False) as file:
            self._path = Path(file.name)
        self._tar = tarfile.open(self._path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 - closed by close
        self._count = 0

    def add(self, patch: Patch) -> int:
        """Append a patch; returns the offset of its bytes in the tar."""
        extension = "png" if patch.image.startswith(b"\x89PNG") else "jpg"
        entry = tar_entry(f"{self.first + self._count:09d}.{extension}", len(patch.image))
        offset = self._tar.offset + tarfile.BLOCKSIZE
        self._tar.addfile(entry, io.BytesIO(patch.image))
        self._count += 1
        return offset

    def full(self, patches: int) -> bool:
        """Whether the next patch belongs into another shard."""
        return self._count >= patches or self._tar.offset >= SHARD_BYTES

    def close(self) -> Path:
        """The finished file."""
        self._tar.close()
        return self._path

    def discard(self) -> None:
        """Take the file away."""
        self._tar.close()
        self._path.unlink(missing_ok=True)


def _objects_in_use(blobs: Blobs, bucket: str) -> set[str]:
    """Keys that the manifest of any data set refers to."""
    used: set[str] = set()
    for key in blobs.list(bucket, "datasets/dataset-"):
        if "/manifest" in key:
            manifest = DatasetManifest.model_validate_json(blobs.get(bucket, key))
            used |= {shard.object.key for shard in manifest.shards}
            for row in read_table(blobs, manifest.mammograms).to_pylist():
                used |= {row["key"], row["preview_key"]}
    return used


def _preview(mammogram: Mammogram) -> bytes:
    picture = decode_grey(mammogram.image, f"mammogram {mammogram.name}")
    if picture.size != (mammogram.width, mammogram.height):
        raise InvalidInput(
            f"mammogram {mammogram.name} has {picture.height} x {picture.width} pixels; "
            f"expected {mammogram.height} x {mammogram.width}"
        )
    picture.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sha_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
