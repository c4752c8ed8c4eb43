"""The embedded object store: a folder with a sub-folder per bucket and a file per object."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from stat import S_ISREG

from services.common.blobs.keys import check_key
from services.common.blobs.port import ObjectRef, StoredObject
from services.common.errors import NotFound
from services.common.machine.disk import transient_faults
from services.common.machine.old_files import remove_old_files

_INCOMING = ".incoming"


class FolderBlobs:
    """Implements `Blobs`. A file is written in another folder, synced and renamed: no reader sees half of it."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self.url = f"folder://{self._folder.absolute()}"

    def ensure_bucket(self, bucket: str) -> None:
        check_key(bucket, "any")
        (self._folder / bucket).mkdir(parents=True, exist_ok=True)

    def put(self, bucket: str, key: str, content: bytes) -> ObjectRef:
        with transient_faults(f"object {bucket}/{key}"), self._incoming(bucket, key) as aside:
            aside.write(content)
        return ObjectRef(bucket=bucket, key=key, sha256=hashlib.sha256(content).hexdigest(), size=len(content))

    def put_file(self, bucket: str, key: str, path: Path) -> ObjectRef:
        digest = hashlib.sha256()
        size = 0
        with (
            transient_faults(f"object {bucket}/{key}"),
            path.open("rb") as source,
            self._incoming(bucket, key) as aside,
        ):
            while block := source.read(1 << 20):
                digest.update(block)
                size += len(block)
                aside.write(block)
        return ObjectRef(bucket=bucket, key=key, sha256=digest.hexdigest(), size=size)

    def get(self, bucket: str, key: str) -> bytes:
        try:
            return self._path(bucket, key).read_bytes()
        except (FileNotFoundError, IsADirectoryError) as error:
            raise _missing(bucket, key) from error

    def get_range(self, bucket: str, key: str, offset: int, length: int) -> bytes:
        try:
            with self._path(bucket, key).open("rb") as source:
                source.seek(offset)
                return source.read(length)
        except (FileNotFoundError, IsADirectoryError) as error:
            raise _missing(bucket, key) from error

    def get_file(self, bucket: str, key: str, path: Path) -> None:
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with transient_faults(f"a copy of object {bucket}/{key}"):
                shutil.copyfile(self._path(bucket, key), aside)
            aside.replace(path)
        except (FileNotFoundError, IsADirectoryError) as error:
            raise _missing(bucket, key) from error
        finally:
            aside.unlink(missing_ok=True)

    def size(self, bucket: str, key: str) -> int | None:
        found = self.stat(bucket, key)
        return None if found is None else found.size

    def stat(self, bucket: str, key: str) -> StoredObject | None:
        path = self._path(bucket, key)
        try:
            facts = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not S_ISREG(facts.st_mode):
            return None
        return StoredObject(key=key, size=facts.st_size, modified=datetime.fromtimestamp(facts.st_mtime, UTC))

    def list(self, bucket: str, prefix: str = "") -> Iterator[str]:
        root = self._folder / bucket
        keys = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
        return iter(sorted(key for key in keys if key.startswith(prefix)))

    def scan(self, bucket: str, prefix: str = "") -> Iterator[StoredObject]:
        found = (self.stat(bucket, key) for key in self.list(bucket, prefix))
        return (stored for stored in found if stored is not None)

    def delete(self, bucket: str, key: str) -> None:
        self._path(bucket, key).unlink(missing_ok=True)

    def discard_unfinished(self, bucket: str, before: datetime) -> int:
        """Unfinished files are stored without the name of their bucket, so those of all buckets are removed."""
        check_key(bucket, "any")
        return remove_old_files(self._folder / _INCOMING, before)[0]

    def _path(self, bucket: str, key: str) -> Path:
        check_key(bucket, key)
        return self._folder / bucket / key

    def _incoming(self, bucket: str, key: str) -> "_Incoming":
        path = self._path(bucket, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = self._folder / _INCOMING
        aside.mkdir(exist_ok=True)
        return _Incoming(aside, path)


class _Incoming:
    """A file that is written in a folder of its own, and moved to its place when it is complete."""

    def __init__(self, folder: Path, target: Path) -> None:
        self._target = target
        descriptor, name = tempfile.mkstemp(dir=folder)
        self._name = Path(name)
        self._file = os.fdopen(descriptor, "wb")

    def __enter__(self) -> "_Incoming":
        return self

    def write(self, block: bytes) -> None:
        self._file.write(block)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with self._file:
                if kind is None:
                    self._file.flush()
                    os.fsync(self._file.fileno())
            if kind is None:
                self._name.replace(self._target)
        finally:  # an incomplete file must not fill up a full disk
            self._name.unlink(missing_ok=True)


def _missing(bucket: str, key: str) -> NotFound:
    return NotFound(f"there is no object {bucket}/{key}")
