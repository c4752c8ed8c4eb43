"""The port for objects: whole puts, ranged gets, keys with slashes. Nothing beyond the plain S3 verbs."""

import hashlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from services.common.errors import InvalidInput


class ObjectRef(BaseModel):
    """Where an object lies and what its bytes are: what messages and manifests carry instead of content."""

    model_config = ConfigDict(frozen=True)

    bucket: str
    key: str
    sha256: str
    size: int


class StoredObject(BaseModel):
    """What a store says of an object without reading it. `modified` is when it was last put, in UTC."""

    model_config = ConfigDict(frozen=True)

    key: str
    size: int
    modified: datetime


class Blobs(Protocol):
    """An object is seen whole or not at all; a put to a key that exists replaces it and renews its `modified`.

    A put returns once what the store holds has the sha256 of the reference that it returns. A bucket that is missing is
    made by a put to it.

    `tests/contract/test_blobs.py` is the contract; every form of the store passes it. All calls may raise Unavailable.
    """

    url: str
    """What `open_blobs` opens again, in another process too."""

    def ensure_bucket(self, bucket: str) -> None:
        """Make a bucket unless it is there."""

    def put(self, bucket: str, key: str, content: bytes) -> ObjectRef:
        """Store bytes."""

    def put_file(self, bucket: str, key: str, path: Path) -> ObjectRef:
        """Store a file without holding it in memory."""

    def get(self, bucket: str, key: str) -> bytes:
        """The whole object. NotFound if there is none."""

    def get_range(self, bucket: str, key: str, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`; fewer where the object ends. NotFound if there is none."""

    def get_file(self, bucket: str, key: str, path: Path) -> None:
        """Copy the object to a local file, which appears whole or not at all. NotFound if there is none."""

    def size(self, bucket: str, key: str) -> int | None:
        """Bytes of the object, or None if there is none."""

    def stat(self, bucket: str, key: str) -> StoredObject | None:
        """Size and age of the object, or None if there is none."""

    def list(self, bucket: str, prefix: str = "") -> Iterator[str]:
        """All keys that begin with a prefix, in lexicographic order."""

    def scan(self, bucket: str, prefix: str = "") -> Iterator[StoredObject]:
        """As `list`, with size and age of each object."""

    def delete(self, bucket: str, key: str) -> None:
        """Remove an object; harmless if there is none."""

    def discard_unfinished(self, bucket: str, before: datetime) -> int:
        """Remove what uploads left that began before a moment and were never finished (their process was killed);
        returns how many. It may not be seen by `scan`, but it takes up room."""


def read_verified(blobs: Blobs, ref: ObjectRef) -> bytes:
    """The object that a reference names; InvalidInput if its bytes are no longer those that were referred to."""
    content = blobs.get(ref.bucket, ref.key)
    found = hashlib.sha256(content).hexdigest()
    if found != ref.sha256:
        raise InvalidInput(f"object {ref.bucket}/{ref.key} has sha256 {found}; expected {ref.sha256}")
    return content
