"""The port for objects: whole puts, ranged gets, keys with slashes. It needs nothing beyond the plain S3 verbs."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from services.common.errors import InvalidInput


class ObjectRef(BaseModel):
    """A reference to an object. Messages, manifests and records carry it instead of the content."""

    model_config = ConfigDict(frozen=True)

    bucket: str
    key: str
    sha256: str
    size: int


class StoredObject(BaseModel):
    """Key and size of an object in a store, and the time of its last put, in UTC."""

    model_config = ConfigDict(frozen=True)

    key: str
    size: int
    modified: datetime


class Blobs(Protocol):
    """Readers see an object complete or not at all. A put to an existing key replaces the object and renews `modified`.

    A put returns after the store's copy is known to have the sha256 of the returned reference. It makes a missing
    bucket.

    `tests/contract/test_blobs.py` is the contract; every form of the store passes it. All calls may raise Unavailable.
    """

    url: str
    """`open_blobs` opens the same store with it, also in another process."""

    def ensure_bucket(self, bucket: str) -> None:
        """Make a bucket unless it exists."""

    def put(self, bucket: str, key: str, content: bytes) -> ObjectRef:
        """Store bytes."""

    def put_file(self, bucket: str, key: str, path: Path) -> ObjectRef:
        """Store a file without holding it in memory."""

    def get(self, bucket: str, key: str) -> bytes:
        """Return the whole object. NotFound if it does not exist."""

    def get_range(self, bucket: str, key: str, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer at the end of the object. NotFound if it does not exist."""

    def get_file(self, bucket: str, key: str, path: Path) -> None:
        """Copy the object to a local file, which appears complete or not at all. NotFound if there is no object."""

    def size(self, bucket: str, key: str) -> int | None:
        """Return the size of the object in bytes, or None if it does not exist."""

    def stat(self, bucket: str, key: str) -> StoredObject | None:
        """Return the size and the age of the object, or None if it does not exist."""

    def list(self, bucket: str, prefix: str = "") -> Iterator[str]:
        """Iterate over all keys that begin with a prefix, in lexicographic order."""

    def scan(self, bucket: str, prefix: str = "") -> Iterator[StoredObject]:
        """List objects as `list` does, with the size and the age of each."""

    def delete(self, bucket: str, key: str) -> None:
        """Remove an object. Harmless if it does not exist."""

    def discard_unfinished(self, bucket: str, before: datetime) -> int:
        """Remove the remains of uploads that began before a moment and were never finished. Return their number.

        A killed process leaves them. They may be invisible to `scan`, but they use space.
        """


def missing_objects(blobs: Blobs, refs: Iterable[ObjectRef]) -> set[ObjectRef]:
    """Return the references to objects that do not exist. One listing for each bucket finds them."""
    by_bucket: dict[str, dict[str, ObjectRef]] = {}
    for ref in refs:
        by_bucket.setdefault(ref.bucket, {})[ref.key] = ref
    missing: set[ObjectRef] = set()
    for bucket, by_key in by_bucket.items():
        prefix = os.path.commonprefix(list(by_key))  # noqa: RUF071 - a store lists by any beginning of a key
        existing = set(blobs.list(bucket, prefix))
        missing.update(ref for key, ref in by_key.items() if key not in existing)
    return missing


def read_verified(blobs: Blobs, ref: ObjectRef) -> bytes:
    """Read the object of a reference. InvalidInput if its bytes are no longer those of the reference."""
    content = blobs.get(ref.bucket, ref.key)
    found = hashlib.sha256(content).hexdigest()
    if found != ref.sha256:
        raise InvalidInput(f"object {ref.bucket}/{ref.key} has sha256 {found}; expected {ref.sha256}")
    return content
