"""Write a data set from patches: shards and an index, and at the end the manifest."""

import hashlib
import json
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from services.common.blobs import Blobs, ObjectRef
from services.common.errors import InvalidInput
from services.common.redaction import quoted
from services.imaging.dataset import (
    INDEX_SCHEMA,
    LESION_SCHEMA,
    MAMMOGRAM_SCHEMA,
    WORDS,
    DatasetManifest,
    Shard,
)
from services.imaging.decode import PNG, decode_grey
from services.imaging.growing_table import GrowingTable
from services.imaging.licence import Term
from services.imaging.manifests import encode_table, read_table
from services.imaging.patches import SPLITS, Lesion, Mammogram, Patch
from services.imaging.previews import encode_preview
from services.imaging.shard_file import ShardFile

SHARD_PATCHES = 4096
UPLOADS_AHEAD = 4
"""Objects that may wait for upload while the next ones are made."""


@dataclass(frozen=True)
class Provenance:
    """Where a data set comes from: its data card and the report of its import as JSON, if there are any, and the terms
    that bind it."""

    card: bytes | None
    report: bytes | None
    terms: tuple[Term, ...]


@dataclass(frozen=True)
class StoredContent:
    """Stored patches and mammograms that are not a data set yet: the three tables of a data set, with patches and
    shards numbered from 0."""

    patches: pa.Table
    mammograms: pa.Table
    lesions: pa.Table
    shards: list[Shard]


class DatasetWriter:
    """Writes patches into shards and numbers them in the order they are added. A shard holds patches of one split, so
    add them split by split.

    A patient may be in one split only, unless `shared_patients` admits a published list that leaks patients.
    Use it as a context manager. When the block raises InvalidInput, the writer deletes the objects it has stored, since
    nobody can use such a data set. It keeps an object that existed before, that another data set finished in the
    meantime refers to, or that another unfinished writer has stored too. After any other error, the objects stay for
    the next attempt, or for the collector.
    """

    # Seven parameters: all but the first two describe the data set, and callers pass them by name.
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
        self._rows = GrowingTable(INDEX_SCHEMA)
        self._mammograms = GrowingTable(MAMMOGRAM_SCHEMA)
        self._lesions = GrowingTable(LESION_SCHEMA.append(WORDS))
        self._splits: Counter[str] = Counter()
        self._shards: list[Shard] = []
        self._names: set[str] = set()
        self._patients: dict[str, str] = {}
        self._open: ShardFile | None = None
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
            self._delete_new_objects()

    def add_mammogram(self, mammogram: Mammogram, lesions: Sequence[Lesion] = ()) -> None:
        """Add a full mammogram and its known outlines, and store its preview."""
        preview = mammogram.preview or _preview(mammogram)
        suffix = "png" if mammogram.image.startswith(PNG) else "jpg"
        full = self._upload(f"datasets/mammograms/{_sha(mammogram.image)}.{suffix}", mammogram.image)
        small = self._upload(f"datasets/previews/{_sha(preview)}.jpg", preview)
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
        """Add known outlines of mammograms. The mammograms themselves need not be added."""
        for lesion in lesions:
            self._lesions.append(
                {
                    "mammogram": lesion.mammogram,
                    "phenomenon": lesion.phenomenon,
                    "outline": [list(p) for p in lesion.outline],
                    WORDS.name: list(lesion.words),
                }
            )

    def add_patch(self, patch: Patch) -> int:
        """Add a patch and return its id. InvalidInput names what is wrong with it."""
        self._check(patch.name, patch.split, patch.label, patch.patient)
        if self._open is None or self._open.split != patch.split or self._open.full(self._shard_patches):
            self._close_shard()
            self._open = ShardFile(patch.split, first=len(self._rows))
        offset = self._open.add(patch)
        patch_id = len(self._rows)
        self._splits[patch.split] += 1
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

    def begin_shard(self, split: str, numbered_from: int) -> None:
        """Begin a shard for the patches that follow, so that it equals the shard of another data set. Its entries are
        numbered from `numbered_from`, which is not the id of its first patch if the shard was written as a part. Add
        at least one patch to it."""
        self._close_shard()
        self._open = ShardFile(split, len(self._rows), numbered_from)

    def add_content(self, content: StoredContent) -> None:
        """Add what another writer has stored, after everything that was added before. The caller makes sure that no
        mammogram is in two contents, and so no patch. InvalidInput as `add_patch`."""
        self._close_shard()
        rows = content.patches
        for patient, split in zip(*(rows[name].to_pylist() for name in ("patient", "split")), strict=True):
            self._check_patient(patient, split)
        first = {"patch_id": len(self._rows), "shard": len(self._shards)}
        for name, number in first.items():
            rows = rows.set_column(rows.schema.get_field_index(name), name, pc.add(rows[name], number))
        self._splits.update(rows["split"].to_pylist())
        self._shards.extend(
            shard.model_copy(update={"first": len(self._rows) + shard.first, "last": len(self._rows) + shard.last})
            for shard in content.shards
        )
        self._rows.extend(rows)
        self._mammograms.extend(content.mammograms)
        self._lesions.extend(_with_words(content.lesions))

    def content(self) -> StoredContent:
        """Finish the open shard and all uploads, and return everything that was added, for `add_content`."""
        self._close_shard()
        self._finish_uploads()
        return StoredContent(self._rows.table(), self._mammograms.table(), self._lesions.table(), self._shards)

    def finish(self, provenance: Provenance | None = None) -> tuple[DatasetManifest, ObjectRef]:
        """Write index and manifest. The id is a hash of all content, so the same patches give the same data set."""
        self._close_shard()
        splits = self._splits
        if not splits:
            raise InvalidInput(f"data set {self._name} has no patches")
        tables = [
            encode_table(self._rows.table()),
            encode_table(self._mammograms.table()),
            encode_table(_without_empty_words(self._lesions.table())),
        ]
        dataset_id = self._identity(tables)
        folder = f"datasets/{dataset_id}"
        index, mammograms, lesions = (
            self._upload(f"{folder}/{name}.parquet", table)
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
            **self._store_provenance(folder, provenance),
        )
        self._finish_uploads()
        body = manifest.model_dump_json(indent=1).encode()
        # The key contains the hash: another version of this code may describe the same content differently.
        ref = self._upload(f"{folder}/manifest-{_sha(body)[:16]}.json", body)
        self._finish_uploads()
        return manifest, ref

    def _store_provenance(self, folder: str, provenance: Provenance | None) -> dict[str, Any]:
        if provenance is None:
            return {}
        stored: dict[str, Any] = {"terms": provenance.terms}
        for name, content in (("card", provenance.card), ("report", provenance.report)):
            if content is not None:
                stored[name] = self._upload(f"{folder}/{name}-{_sha(content)[:16]}.json", content)
        return stored

    def _identity(self, tables: Sequence[bytes]) -> str:
        content = {
            "name": self._name,
            "notice": self._notice,
            "classes": self._classes,
            "shards": [shard.object.sha256 for shard in self._shards],
            "tables": [_sha(table) for table in tables],
        }
        return f"dataset-{_sha(json.dumps(content, sort_keys=True).encode())[:12]}"

    def _check(self, name: str, split: str, label: int, patient: str) -> None:
        if split not in SPLITS:
            raise InvalidInput(f"patch {name} is in split {quoted(split)}; expected one of {', '.join(SPLITS)}")
        if not 0 <= label < len(self._classes):
            raise InvalidInput(
                f"patch {name} has label {label}; expected 0 to {len(self._classes) - 1} ({', '.join(self._classes)})"
            )
        if name in self._names:
            raise InvalidInput(f"patch {name} was added twice")
        self._check_patient(patient, split)
        self._names.add(name)

    def _check_patient(self, patient: str, split: str) -> None:
        other = self._patients.setdefault(patient, split)
        if other != split and not self._shared_patients:
            raise InvalidInput(f"patient {patient} is in the splits {other} and {split}; expected one")

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

    def _upload(self, key: str, content: bytes) -> ObjectRef:
        """Store an object in the background, in order. A later call raises the error of a failed upload."""
        if len(self._waiting) == UPLOADS_AHEAD:
            self._waiting.popleft().result()
        put = partial(self._blobs.put, self._bucket, key, content)
        self._waiting.append(self._uploads.submit(self._put, key, put))
        return ObjectRef(bucket=self._bucket, key=key, sha256=_sha(content), size=len(content))

    def _put(self, key: str, put: Callable[[], ObjectRef]) -> ObjectRef:
        """Store an object, even if it exists: its new time stamp shows collector and other writers that it is used."""
        existed = self._blobs.stat(self._bucket, key) is not None
        ref = put()
        stored = self._blobs.stat(self._bucket, key)
        if not existed and stored is not None:
            self._new[key] = stored.modified
        return ref

    def _delete_new_objects(self) -> None:
        in_use = _objects_in_use(self._blobs, self._bucket)
        for key, modified in self._new.items():
            stored = self._blobs.stat(self._bucket, key)
            if key not in in_use and stored is not None and stored.modified == modified:
                self._blobs.delete(self._bucket, key)

    def _finish_uploads(self) -> None:
        while self._waiting:
            self._waiting.popleft().result()


def _with_words(lesions: pa.Table) -> pa.Table:
    """Known outlines with the column WORDS, which tables of earlier versions do not have."""
    if WORDS.name in lesions.column_names:
        return lesions
    return lesions.append_column(WORDS, pa.array([[]] * len(lesions), type=WORDS.type))


def _without_empty_words(lesions: pa.Table) -> pa.Table:
    """Known outlines without the column WORDS if it has no words: then the table equals that of earlier versions."""
    words = pc.sum(pc.list_value_length(lesions[WORDS.name])).as_py()
    return lesions if words else lesions.drop_columns([WORDS.name])


def _objects_in_use(blobs: Blobs, bucket: str) -> set[str]:
    """Return the keys that the manifest of any data set refers to."""
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
    return encode_preview(picture)


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sha_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
