"""The garbage collector: removes the objects in a service's bucket that its records do not reach."""

from datetime import datetime

from pydantic import BaseModel

from services.common.blobs import Blobs, StoredObject
from services.common.errors import Conflict
from services.common.objects.references import Fault, Named, Owner, References
from services.common.records import Records


class Collected(BaseModel):
    """What the collector found and did in the bucket of one service.

    `swept` is false where a manifest could not be read. `young` objects are named by nothing and were put so recently
    that they may yet be. `unfinished` counts uploads that were begun and never ended. `faults` are objects that are
    reached and not there, and manifests that cannot be read.
    """

    service: str
    bucket: str
    swept: bool = False
    reached: int = 0
    removed: int = 0
    bytes: int = 0
    young: int = 0
    unfinished: int = 0
    faults: list[Fault] = []


def collect(
    owner: Owner, records: Records, blobs: Blobs, before: datetime, dry_run: bool = False, accept_empty: bool = False
) -> Collected | None:
    """Remove what the service's records do not reach and what was last put before a moment; None for a service without
    a bucket. `dry_run` only counts.

    First marks, then sweeps, while the service may be at work. A manifest that is written meanwhile is safe: before a
    service commits a record it puts every object of its own that the record newly names, also one that is there
    already (a put renews `modified`). So what a record names that was committed after the mark is younger than
    `before`, as long as the time from a put to its record is shorter than the grace. What was marked stays marked,
    whatever its record says by now. And an object that is put again after it was listed is asked for its age once more
    right before it is removed; only a put within that one call would be lost, and the next check names it.

    Where a manifest cannot be read nothing is removed, since what it names is not known. Conflict where records reach
    none of the objects in a bucket, as those of another database would, unless `accept_empty`.
    """
    if owner.bucket is None:
        return None
    found = References(blobs)
    owner.collect(records, found)
    reached = {named.key: named for named in found.named if named.bucket == owner.bucket}
    stored = list(blobs.scan(owner.bucket))
    there = {one.key for one in stored}
    if stored and there.isdisjoint(reached) and not accept_empty:
        raise Conflict(
            f"the records of {owner.service} reach none of the {len(stored)} objects in bucket {owner.bucket}; "
            "are they those of this store? If so, accept that they are empty"
        )
    done = Collected(service=owner.service, bucket=owner.bucket, reached=len(reached), faults=list(found.faults))
    done.faults += _missing([named for key, named in reached.items() if key not in there], found)
    if not found.blind:
        _sweep(done, [one for one in stored if one.key not in reached], blobs, before, dry_run)
        done.unfinished = 0 if dry_run else blobs.discard_unfinished(owner.bucket, before)
    return done


def _missing(absent: list[Named], found: References) -> list[Fault]:
    """A fault for each object that is not there, unless following it has made one."""
    known = {fault.what for fault in found.faults}
    return [
        Fault(kind="missing", what=one.path, named_by=one.by, told=f"there is no object {one.path}")
        for one in absent
        if one.path not in known
    ]


def _sweep(done: Collected, unnamed: list[StoredObject], blobs: Blobs, before: datetime, dry_run: bool) -> None:
    done.swept = True
    for one in unnamed:
        newest = one if one.modified >= before or dry_run else blobs.stat(done.bucket, one.key)
        if newest is None:
            continue
        if newest.modified >= before:
            done.young += 1
            continue
        if not dry_run:
            blobs.delete(done.bucket, one.key)
        done.removed += 1
        done.bytes += one.size
