"""The deployed object store: any S3 through the minio client, with nothing beyond the plain verbs."""

import hashlib
import io
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import certifi
import urllib3
from minio import Minio
from minio.datatypes import Object
from minio.error import InvalidResponseError, S3Error, ServerError
from urllib3.exceptions import HTTPError

from services.common.blobs.keys import check_key
from services.common.blobs.port import ObjectRef, StoredObject
from services.common.errors import InvalidInput, NotFound, Unavailable
from services.common.observability.logs import get_logger

log = get_logger(__name__)

PART_BYTES = 16 << 20
"""Size of a part of a multipart upload: what one upload holds in memory."""
ATTEMPTS = 5
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0
CONNECT_LIMIT_S, READ_LIMIT_S = 5.0, 60.0
CONNECTIONS = 16

_ABSENT = ("NoSuchKey", "NoSuchBucket", "NoSuchObject", "ResourceNotFound")

_TOO_SOON = (408, 425, 429)
"""Statuses below 500 after which another attempt may succeed: too slow, too early, too many."""

_PASSING = (
    "OperationAborted",  # another call changes the same thing
    # The body was cut, altered or delayed on its way to the store.
    "BadDigest",
    "IncompleteBody",
    "RequestTimeout",
    "XAmzContentSHA256Mismatch",
)
"""Codes of other statuses after which the same call may succeed a moment later."""

_DENIED = (401, 403)
_EXPIRED = ("ExpiredToken", "InvalidToken", "RequestExpired", "TokenRefreshRequired")
"""Statuses and codes of keys that are wrong, expired or not allowed to do this, and of a clock that differs from the
store's. They pass when somebody mends them, but not within seconds."""

_ADDRESS = re.compile(r"[^\s:@]++(:\d{1,5})?")

T = TypeVar("T")


class _Retry(Exception):
    """The call must be retried; the message gives the reason."""


class S3Blobs:
    """Implements `Blobs`. `url` is `s3://KEY:SECRET@HOST:PORT?secure=true&region=…`.

    Every put is read back and hashed. Nothing less proves on every S3 what the store holds: SeaweedFS accepts a body
    that does not match its x-amz-content-sha256 header, some stores do not know checksum headers, and an ETag is an MD5
    only without encryption. docs/adr/0009 gives the cost.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        options = parse_qs(parts.query)
        address = parts.netloc.rpartition("@")[2]
        if not _ADDRESS.fullmatch(address) or not parts.username or not parts.password:
            raise InvalidInput(
                "PRIMITIVES_BLOBS_URL names no host, key or secret; expected s3://KEY:SECRET@HOST:PORT, with / # ? @ "
                "and : of a secret written as %2F %23 %3F %40 and %3A"
            )
        self._client = Minio(
            address,
            access_key=unquote(parts.username),
            secret_key=unquote(parts.password),
            secure=options.get("secure", ["true"])[0] == "true",
            region=options.get("region", ["us-east-1"])[0],
            http_client=_http_client(),
        )
        self._buckets: set[str] = set()

    def ensure_bucket(self, bucket: str) -> None:
        check_key(bucket, "any")
        self._buckets.discard(bucket)
        self._try(lambda: self._ensure(bucket), bucket, "")

    def put(self, bucket: str, key: str, content: bytes) -> ObjectRef:
        digest = hashlib.sha256(content).hexdigest()
        ref = ObjectRef(bucket=bucket, key=key, sha256=digest, size=len(content))
        self._put(ref, lambda: io.BytesIO(content))
        return ref

    def put_file(self, bucket: str, key: str, path: Path) -> ObjectRef:
        with path.open("rb") as source:
            digest = hashlib.file_digest(source, "sha256").hexdigest()
        ref = ObjectRef(bucket=bucket, key=key, sha256=digest, size=path.stat().st_size)
        self._put(ref, lambda: path.open("rb"))
        return ref

    def get(self, bucket: str, key: str) -> bytes:
        return self._read(bucket, key, 0, 0)

    def get_range(self, bucket: str, key: str, offset: int, length: int) -> bytes:
        if length == 0:
            return b""
        return self._read(bucket, key, offset, length)

    def get_file(self, bucket: str, key: str, path: Path) -> None:
        check_key(bucket, key)
        aside = path.with_name(f".{path.name}.{os.getpid()}")

        def fetch() -> None:
            with self._open(bucket, key) as answer, aside.open("wb") as target:
                for block in answer.stream(1 << 20):
                    target.write(block)

        try:
            self._try(fetch, bucket, key)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)

    def size(self, bucket: str, key: str) -> int | None:
        found = self.stat(bucket, key)
        return None if found is None else found.size

    def stat(self, bucket: str, key: str) -> StoredObject | None:
        check_key(bucket, key)
        try:
            return _stored(self._try(lambda: self._client.stat_object(bucket, key), bucket, key))
        except NotFound:
            return None

    def list(self, bucket: str, prefix: str = "") -> Iterator[str]:
        return (stored.key for stored in self.scan(bucket, prefix))

    def scan(self, bucket: str, prefix: str = "") -> Iterator[StoredObject]:
        check_key(bucket, "any")

        def find() -> list[StoredObject]:
            found = self._client.list_objects(bucket, prefix, recursive=True)
            return sorted((_stored(item) for item in found if not item.is_dir), key=lambda stored: stored.key)

        try:
            return iter(self._try(find, bucket, prefix))
        except NotFound:
            return iter(())

    def delete(self, bucket: str, key: str) -> None:
        check_key(bucket, key)
        try:
            self._try(lambda: self._client.remove_object(bucket, key), bucket, key)
        except NotFound:
            return

    def discard_unfinished(self, bucket: str, before: datetime) -> int:
        check_key(bucket, "any")

        def discard() -> int:
            # The client has no public call for these two verbs of plain S3.
            found = self._client._list_multipart_uploads(bucket).uploads
            old = [one for one in found if one.initiated_time and one.initiated_time < before]
            for one in old:
                self._client._abort_multipart_upload(bucket, one.object_name, one.upload_id or "")
            return len(old)

        try:
            return self._try(discard, bucket, "")
        except NotFound:
            return 0

    def _put(self, ref: ObjectRef, source: Callable[[], BinaryIO]) -> None:
        check_key(ref.bucket, ref.key)

        def send() -> None:
            self._ensure(ref.bucket)
            try:
                with source() as content:
                    put = self._client.put_object(ref.bucket, ref.key, content, ref.size, part_size=PART_BYTES)
                self._verify(ref, put.etag)
            except S3Error as error:
                if error.code in _ABSENT:  # the bucket, or the object before it was read back, was removed
                    self._buckets.discard(ref.bucket)
                    raise _Retry(f"{ref.bucket}/{ref.key} is gone: {error.code}") from error
                raise

        self._try(send, ref.bucket, ref.key)

    def _verify(self, ref: ObjectRef, etag: str | None) -> None:
        """Read back what was put. If another writer has put to the key meanwhile, that writer verifies its own object.

        This never happens to keys that contain hashes.
        """
        digest = hashlib.sha256()
        with self._open(ref.bucket, ref.key) as answer:
            for block in answer.stream(1 << 20):
                digest.update(block)
        if digest.hexdigest() == ref.sha256:
            return
        found = answer.headers.get("ETag", "").strip('"')
        if found and etag and found != etag.strip('"'):
            log.warning("object replaced while it was verified", bucket=ref.bucket, key=ref.key)
            return
        raise _Retry(f"the store holds sha256 {digest.hexdigest()}; {ref.sha256} was sent")

    def _ensure(self, bucket: str) -> None:
        if bucket in self._buckets:
            return
        try:
            if not self._client.bucket_exists(bucket):
                self._client.make_bucket(bucket)
        except S3Error as error:
            if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise
        self._buckets.add(bucket)

    def _read(self, bucket: str, key: str, offset: int, length: int) -> bytes:
        check_key(bucket, key)

        def fetch() -> bytes:
            try:
                with self._open(bucket, key, offset, length) as answer:
                    content: bytes = answer.read()
                    return content
            except S3Error as error:
                if error.code == "InvalidRange":
                    return b""  # a range after the end is empty, as in a file
                raise

        return self._try(fetch, bucket, key)

    @contextmanager
    def _open(self, bucket: str, key: str, offset: int = 0, length: int = 0) -> Iterator[Any]:
        """Yield the response to a get of `length` bytes from `offset`; a length of 0 means up to the end."""
        answer = self._client.get_object(bucket, key, offset=offset, length=length)
        try:
            yield answer
        finally:
            answer.close()
            answer.release_conn()

    def _try(self, call: Callable[[], T], bucket: str, key: str) -> T:
        """Call until it succeeds or has failed ATTEMPTS times, with growing, jittered waits in between.

        NotFound for an absent object. InvalidInput for a call that would fail again. Unavailable for a store that does
        not serve it now, or denies it to these keys.
        """
        wait = FIRST_WAIT_S
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return call()
            except S3Error as error:
                if error.code in _ABSENT:
                    self._buckets.discard(bucket)
                    raise NotFound(f"there is no object {bucket}/{key}") from error
                if error.response.status in _DENIED or error.code in _EXPIRED:
                    raise Unavailable(f"the store denies {bucket}/{key}: {error.code} {error.message}") from error
                if not _passes(error):
                    raise InvalidInput(f"the store refuses {bucket}/{key}: {error.code} {error.message}") from error
                failure: Exception = error
            except (_Retry, ServerError, InvalidResponseError, HTTPError, OSError) as error:
                failure = error
            if attempt < ATTEMPTS:
                log.warning("store call failed", bucket=bucket, key=key, attempt=attempt, reason=repr(failure))
                time.sleep(wait * random.uniform(0.5, 1.5))
                wait = min(wait * 2, LONGEST_WAIT_S)
        raise Unavailable(f"the store does not serve {bucket}/{key}: {failure!r}") from failure


def _passes(error: S3Error) -> bool:
    """Return whether the same call may succeed a moment later. Stores invent codes, so the status decides."""
    status = error.response.status
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _TOO_SOON or error.code in _PASSING


def _stored(item: Object) -> StoredObject:
    return StoredObject(key=item.object_name, size=item.size, modified=item.last_modified)


def _http_client() -> Any:
    """Make connections with time-outs and the system's certificate authorities. `_try` retries; they do not."""
    return urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=CONNECT_LIMIT_S, read=READ_LIMIT_S),
        maxsize=CONNECTIONS,
        cert_reqs="CERT_REQUIRED",
        ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
        retries=False,
    )
