"""Copying of buckets from one store to another: the backup of objects, and its restore."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel

from services.common.blobs.port import Blobs


class CopyCounts(BaseModel):
    """The objects and bytes of one bucket that were copied, and the objects that the target had already."""

    objects: int = 0
    bytes: int = 0
    skipped: int = 0


def copy_buckets(source: Blobs, target: Blobs, buckets: Iterable[str], scratch: Path) -> dict[str, CopyCounts]:
    """Copy all objects of some buckets, except those that the target has with the same size.

    So a copy that was interrupted resumes where it stopped. Nothing is removed from the target.

    Each object goes through a local file. The put verifies that the target holds the bytes that were read;
    `primitives check` verifies that these are the bytes of the records.
    """
    copied = {bucket: CopyCounts() for bucket in buckets}
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        for bucket, done in copied.items():
            target.ensure_bucket(bucket)
            existing = {one.key: one.size for one in target.scan(bucket)}
            for one in source.scan(bucket):
                if existing.get(one.key) == one.size:
                    done.skipped += 1
                    continue
                path = Path(folder) / "object"
                source.get_file(bucket, one.key, path)
                ref = target.put_file(bucket, one.key, path)
                done.objects += 1
                done.bytes += ref.size
    return copied
