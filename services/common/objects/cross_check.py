"""The cross-check of records and objects, in both directions."""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel

from services.common.blobs import Blobs
from services.common.objects.references import Fault, Named, Owner, References
from services.common.records import Records


class Unnamed(BaseModel):
    """Objects that a bucket's owner does not name: garbage for the collector. `manifests` are those that named more."""

    objects: int = 0
    bytes: int = 0
    manifests: list[str] = []


class Checked(BaseModel):
    """What the check found. `named` counts objects, however often each is named."""

    named: int
    bytes: int
    deep: bool
    faults: list[Fault]
    unnamed: dict[str, Unnamed]


def cross_check(owners: Iterable[tuple[Owner, Records]], blobs: Blobs, scratch: Path, deep: bool) -> Checked:
    """Hold the records of all services against the objects; with `deep` every named object is read and hashed.

    Give services in the order of a plan. They are read in the other order: what a later service was told of, an earlier
    one has recorded before, so that services at work make no faults.
    """
    reaches: list[tuple[Owner, References]] = []
    for owner, records in reversed(list(owners)):
        reaches.append((owner, References(blobs)))
        owner.collect(records, reaches[-1][1])
    named = list(dict.fromkeys(one for _, reach in reaches for one in reach.named))
    buckets = {one.bucket for one in named} | {owner.bucket for owner, _ in reaches if owner.bucket is not None}
    stored = {bucket: {one.key: one.size for one in blobs.scan(bucket)} for bucket in buckets}
    faults = [fault for _, reach in reaches for fault in reach.faults]
    told = {fault.what for fault in faults}
    faults += [fault for fault in _compare(named, stored) if fault.what not in told]
    for owner, reach in reaches:
        faults += _disowned(owner, reach, named)
    if deep:
        bad = {fault.what for fault in faults if fault.kind in ("missing", "altered")}
        faults += _read_all([one for one in named if one.path not in bad], blobs, scratch)
    objects = {(one.bucket, one.key) for one in named}
    return Checked(
        named=len(objects),
        bytes=sum(stored[bucket].get(key, 0) for bucket, key in objects),
        deep=deep,
        faults=faults,
        unnamed={
            owner.bucket: _unnamed(stored[owner.bucket], _own(owner, reach))
            for owner, reach in reaches
            if owner.bucket is not None
        },
    )


def _own(owner: Owner, reach: References) -> set[str]:
    """Keys of its own bucket that an owner names."""
    return {one.key for one in reach.named if one.bucket == owner.bucket}


def _compare(named: list[Named], stored: dict[str, dict[str, int]]) -> Iterator[Fault]:
    """Objects that are missing or of another size, once for each that names them."""
    for one in named:
        size = stored[one.bucket].get(one.key)
        if size is None:
            yield Fault(kind="missing", what=one.path, named_by=one.by, told=f"there is no object {one.path}")
        elif one.size is not None and size != one.size:
            told = f"object {one.path} has {size} bytes; expected {one.size}"
            yield Fault(kind="altered", what=one.path, named_by=one.by, told=told)


def _disowned(owner: Owner, reach: References, named: list[Named]) -> Iterator[Fault]:
    """Objects in an owner's bucket that only others name. An owner that could not read a manifest is not judged."""
    own = _own(owner, reach)
    for one in () if reach.blind else named:
        if one.bucket == owner.bucket and one.key not in own:
            told = f"the records of {owner.service} do not name {one.path}"
            yield Fault(kind="disowned", what=one.path, named_by=one.by, told=told)


def _read_all(named: list[Named], blobs: Blobs, scratch: Path) -> Iterator[Fault]:
    """Read every object once; those whose bytes are not what somebody says of them."""
    expected: dict[tuple[str, str], dict[str, str]] = {}
    for one in named:
        by_hash = expected.setdefault((one.bucket, one.key), {})
        if one.sha256:
            by_hash.setdefault(one.sha256, one.by)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        for (bucket, key), by_hash in expected.items():
            digest = _hash(blobs, bucket, key, Path(folder) / "object") if by_hash else ""
            for sha256, by in by_hash.items():
                if digest != sha256:
                    told = f"object {bucket}/{key} has sha256 {digest}; expected {sha256}"
                    yield Fault(kind="altered", what=f"{bucket}/{key}", named_by=by, told=told)


def _hash(blobs: Blobs, bucket: str, key: str, path: Path) -> str:
    blobs.get_file(bucket, key, path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unnamed(stored: dict[str, int], named: set[str]) -> Unnamed:
    keys = [key for key in stored if key not in named]
    manifests = sorted(key for key in keys if key.endswith(".json"))
    return Unnamed(objects=len(keys), bytes=sum(stored[key] for key in keys), manifests=manifests)
