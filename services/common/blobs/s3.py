"""The deployed object store: any S3 through the minio client, with nothing beyond the plain verbs."""

import hashlib
import io
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import certifi
import urllib3
from minio import Minio
from minio.error import InvalidResponseError, S3Error, ServerError
from urllib3.exceptions import HTTPError

from services.common.blobs.keys import check_key
from services.common.blobs.port import ObjectRef
from services.common.errors import InvalidInput, NotFound, Unavailable
from services.common.logs import get_logger

log = get_logger(__name__)

PART_BYTES = 16 << 20
"""Size of a part of a multipart upload: what one upload holds in memory."""
ATTEMPTS = 5
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0
CONNECT_LIMIT_S, READ_LIMIT_S = 5.0, 60.0
CONNECTIONS = 16

_ABSENT = ("NoSuchKey", "NoSuchBucket", "NoSuchObject", "ResourceNotFound")
_PASSING = (
    "SlowDown",
    "InternalError",
    "ServiceUnavailable",
    "RequestTimeout",
    "ServerBusy",
    "XMinioServerNotInitialized",
)

T = TypeVar("T")


class S3Blobs:
    """See `Blobs`. `url` is `s3://KEY:SECRET@HOST:PORT?secure=true&region=…`; buckets are made at their first put."""

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        options = parse_qs(parts.query)
        if not parts.hostname or not parts.username or not parts.password:
            raise InvalidInput("PRIMITIVES_BLOBS_URL names no host, key or secret; expected s3://KEY:SECRET@HOST:PORT")
        host = parts.hostname if parts.port is None else f"{parts.hostname}:{parts.port}"
        self._client = Minio(
            host,
            access_key=unquote(parts.username),
            secret_key=unquote(parts.password),
            secure=options.get("secure", ["true"])[0] == "true",
            region=options.get("region", ["us-east-1"])[0],
            http_client=_http_client(),
        )
        self._buckets: set[str] = set()

    def put(self, bucket: str, key: str, content: bytes) -> ObjectRef:
        self._put(bucket, key, lambda: io.BytesIO(content), len(content))
        return ObjectRef(bucket=bucket, key=key, sha256=hashlib.sha256(content).hexdigest(), size=len(content))

    def put_file(self, bucket: str, key: str, path: Path) -> ObjectRef:
        with path.open("rb") as source:
            digest = hashlib.file_digest(source, "sha256").hexdigest()
        size = path.stat().st_size
        self._put(bucket, key, lambda: path.open("rb"), size)
        return ObjectRef(bucket=bucket, key=key, sha256=digest, size=size)

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
            answer = self._client.get_object(bucket, key)
            try:
                with aside.open("wb") as target:
                    for block in answer.stream(1 << 20):
                        target.write(block)
            finally:
                answer.close()
                answer.release_conn()

        try:
            self._try(fetch, bucket, key)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)

    def size(self, bucket: str, key: str) -> int | None:
        check_key(bucket, key)
        try:
            return self._try(lambda: self._client.stat_object(bucket, key).size, bucket, key)
        except NotFound:
            return None

    def list(self, bucket: str, prefix: str = "") -> Iterator[str]:
        check_key(bucket, "any")

        def find() -> list[str]:
            found = self._client.list_objects(bucket, prefix, recursive=True)
            return sorted(item.object_name for item in found if item.object_name and not item.is_dir)

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

    def _put(self, bucket: str, key: str, source: Callable[[], BinaryIO], size: int) -> None:
        check_key(bucket, key)

        def send() -> None:
            self._ensure(bucket)
            with source() as content:
                self._client.put_object(bucket, key, content, size, part_size=PART_BYTES)

        self._try(send, bucket, key)

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
                answer = self._client.get_object(bucket, key, offset=offset, length=length)
            except S3Error as error:
                if error.code == "InvalidRange":
                    return b""  # a range behind the end is empty, as in a file
                raise
            try:
                return answer.read()
            finally:
                answer.close()
                answer.release_conn()

        return self._try(fetch, bucket, key)

    def _try(self, call: Callable[[], T], bucket: str, key: str) -> T:
        """Call until it succeeds or has failed for ATTEMPTS times, with growing, jittered waits between."""
        wait = FIRST_WAIT_S
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return call()
            except S3Error as error:
                if error.code in _ABSENT:
                    self._buckets.discard(bucket)
                    raise NotFound(f"there is no object {bucket}/{key}") from error
                if error.code not in _PASSING:
                    raise InvalidInput(f"the store refuses {bucket}/{key}: {error.code} {error.message}") from error
                failure: Exception = error
            except (ServerError, InvalidResponseError, HTTPError, OSError) as error:
                failure = error
            if attempt < ATTEMPTS:
                log.warning("store call failed", bucket=bucket, key=key, attempt=attempt, reason=repr(failure))
                time.sleep(wait * random.uniform(0.5, 1.5))
                wait = min(wait * 2, LONGEST_WAIT_S)
        raise Unavailable(f"the store does not answer for {bucket}/{key}: {failure!r}") from failure


def _http_client() -> Any:
    """Connections with time-outs and the system's certificate authorities; they never retry: ours are counted."""
    return urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=CONNECT_LIMIT_S, read=READ_LIMIT_S),
        maxsize=CONNECTIONS,
        cert_reqs="CERT_REQUIRED",
        ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
        retries=False,
    )
