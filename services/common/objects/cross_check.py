"""The cross-check of records and objects, in both directions."""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel

from services.common.blobs import Blobs
from services.common.objects.references import Fault, Owner, ReferencedObject, References, Report
from services.common.records import Records


class Unreferenced(BaseModel):
    """Objects to which the records of their bucket's owner do not refer: garbage for the collector.

    `manifests` are the keys of those that referred to further objects.
    """

    objects: int = 0
    bytes: int = 0
    manifests: list[str] = []


class CheckReport(Report):
    """What the check found. `referenced` counts each object once, however many references it has."""

    EARLIER: ClassVar = {"referenced": "named", "unreferenced": "unnamed"}

    referenced: int
    bytes: int
    deep: bool
    faults: list[Fault]
    unreferenced: dict[str, Unreferenced]


def cross_check(owners: Iterable[tuple[Owner, Records]], blobs: Blobs, scratch: Path, deep: bool) -> CheckReport:
    """Compare the records of all services with the objects; if `deep`, read and hash every referenced object.

    Pass the services in the order of a plan. They are read in reverse order: an earlier service has recorded a thing
    before a later one refers to it, so services that are at work cause no faults.
    """
    found: list[tuple[Owner, References]] = []
    for owner, records in reversed(list(owners)):
        found.append((owner, References(blobs)))
        owner.collect(records, found[-1][1])
    referenced = list(dict.fromkeys(one for _, references in found for one in references.objects))
    buckets = {one.bucket for one in referenced} | {owner.bucket for owner, _ in found if owner.bucket is not None}
    stored = {bucket: {one.key: one.size for one in blobs.scan(bucket)} for bucket in buckets}
    faults = [fault for _, references in found for fault in references.faults]
    reported = {fault.what for fault in faults}
    faults += [fault for fault in _compare(referenced, stored) if fault.what not in reported]
    for owner, references in found:
        faults += _disowned(owner, references, referenced)
    if deep:
        bad = {fault.what for fault in faults if fault.kind in ("missing", "altered")}
        faults += _read_all([one for one in referenced if one.path not in bad], blobs, scratch)
    objects = {(one.bucket, one.key) for one in referenced}
    return CheckReport(
        referenced=len(objects),
        bytes=sum(stored[bucket].get(key, 0) for bucket, key in objects),
        deep=deep,
        faults=faults,
        unreferenced={
            owner.bucket: _unreferenced(stored[owner.bucket], owner.keys(references))
            for owner, references in found
            if owner.bucket is not None
        },
    )


def _compare(referenced: list[ReferencedObject], stored: dict[str, dict[str, int]]) -> Iterator[Fault]:
    """Yield a fault for each reference to an object that is missing or has another size."""
    for one in referenced:
        size = stored[one.bucket].get(one.key)
        if size is None:
            yield one.missing()
        elif one.size is not None and size != one.size:
            yield one.fault("altered", f"object {one.path} has {size} bytes; expected {one.size}")


def _disowned(owner: Owner, references: References, referenced: list[ReferencedObject]) -> Iterator[Fault]:
    """Yield a fault for each object in an owner's bucket to which only other services refer.

    An owner with an unreadable manifest has none: its own references are not all known.
    """
    own = owner.keys(references)
    for one in () if references.incomplete else referenced:
        if one.bucket == owner.bucket and one.key not in own:
            yield one.fault("disowned", f"the records of {owner.service} do not refer to {one.path}")


def _read_all(referenced: list[ReferencedObject], blobs: Blobs, scratch: Path) -> Iterator[Fault]:
    """Read every object once. Yield a fault for each sha256 in a reference that is not the object's."""
    expected: dict[tuple[str, str], dict[str, ReferencedObject]] = {}
    for one in referenced:
        by_hash = expected.setdefault((one.bucket, one.key), {})
        if one.sha256:
            by_hash.setdefault(one.sha256, one)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        for (bucket, key), by_hash in expected.items():
            digest = _hash(blobs, bucket, key, Path(folder) / "object") if by_hash else ""
            for sha256, one in by_hash.items():
                if digest != sha256:
                    yield one.fault("altered", f"object {one.path} has sha256 {digest}; expected {sha256}")


def _hash(blobs: Blobs, bucket: str, key: str, path: Path) -> str:
    blobs.get_file(bucket, key, path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unreferenced(stored: dict[str, int], referenced: set[str]) -> Unreferenced:
    keys = [key for key in stored if key not in referenced]
    manifests = sorted(key for key in keys if key.endswith(".json"))
    return Unreferenced(objects=len(keys), bytes=sum(stored[key] for key in keys), manifests=manifests)
