"""Copying buckets from one store to another: the backup of objects, and its restore."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel

from services.common.blobs.port import Blobs


class Copied(BaseModel):
    """What was copied of one bucket, and what was there already."""

    objects: int = 0
    bytes: int = 0
    skipped: int = 0


def copy_buckets(source: Blobs, target: Blobs, buckets: Iterable[str], scratch: Path) -> dict[str, Copied]:
    """Copy all objects of some buckets; an object that the target has with the same size is skipped, so that a copy
    that was interrupted goes on where it was. Nothing is removed from the target.

    Objects go over a local file, one at a time. The put verifies that the target holds what was read; whether that is
    what records say is for the check to tell.
    """
    copied = {bucket: Copied() for bucket in buckets}
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        for bucket, done in copied.items():
            target.ensure_bucket(bucket)
            there = {one.key: one.size for one in target.scan(bucket)}
            for one in source.scan(bucket):
                if there.get(one.key) == one.size:
                    done.skipped += 1
                    continue
                path = Path(folder) / "object"
                source.get_file(bucket, one.key, path)
                ref = target.put_file(bucket, one.key, path)
                done.objects += 1
                done.bytes += ref.size
    return copied
