"""`primitives buckets`, `gc`, `check` and `copy-objects`: commands over the stores and records of all services."""

import importlib
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Annotated

import typer

from services.cli.migrations import SERVICES, migrations_of
from services.common.blobs import open_blobs
from services.common.blobs.copy import copy_buckets
from services.common.machine.old_files import remove_old_files
from services.common.objects.collector import collect
from services.common.objects.cross_check import cross_check
from services.common.objects.references import Owner
from services.common.records import Records, ensure_migrated, now, open_records
from services.common.settings import Shared

BUCKETS = ("training", "activation-extraction", "patch-rendering")
"""What the services call the buckets that they write: known here without loading torch."""


def buckets() -> None:
    """Make the buckets of the services where they are missing, for stores in which services themselves may not."""
    blobs = open_blobs(Shared().blobs())
    for bucket in BUCKETS:
        blobs.ensure_bucket(bucket)
        typer.echo(bucket)


def gc(
    service: Annotated[list[str] | None, typer.Option(help="A service; repeatable. Without it all four.")] = None,
    grace_h: Annotated[float, typer.Option(min=0, help="Hours for which an object that nothing names is kept.")] = 24.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    accept_empty: Annotated[
        bool, typer.Option("--accept-empty", help="Sweep also where records reach none of the objects.")
    ] = False,
) -> None:
    """Remove objects that no record or manifest names, and scratch files, once they are older than the grace.

    The grace must be longer than the longest import and the longest job. Exit status 1 if an object that is named is
    missing or cannot be read.
    """
    shared = Shared()
    before = now() - timedelta(hours=grace_h)
    blobs = open_blobs(shared.blobs())
    with opened(shared, service or SERVICES) as owners:
        collected = [collect(owner, records, blobs, before, dry_run, accept_empty) for owner, records in owners]
    done = [one for one in collected if one is not None]
    count, size = remove_old_files(shared.scratch(), before, dry_run)
    _print({"dry_run": dry_run, "services": [one.model_dump() for one in done], "scratch": _files(count, size)})
    if any(one.faults for one in done):
        raise typer.Exit(1)


def check(
    deep: Annotated[bool, typer.Option("--deep", help="Read all named objects and compare their sha256.")] = False,
) -> None:
    """Hold the records of all services against the objects, in both directions. Exit status 1 if there are faults."""
    shared = Shared()
    with opened(shared, SERVICES) as owners:
        checked = cross_check(owners, open_blobs(shared.blobs()), shared.scratch(), deep)
    _print(checked.model_dump())
    if checked.faults:
        raise typer.Exit(1)


def copy_objects(
    to: Annotated[str, typer.Option(help="folder:///PATH or s3://KEY:SECRET@HOST:PORT.")],
    source: Annotated[str, typer.Option("--from", help="Likewise; without it the store of the settings.")] = "",
) -> None:
    """Copy the objects of all services to another store; what is there with the same size is skipped."""
    shared = Shared()
    buckets = [owner.bucket for owner in map(owner_of, SERVICES) if owner.bucket is not None]
    copied = copy_buckets(open_blobs(source or shared.blobs()), open_blobs(to), buckets, shared.scratch())
    _print({bucket: one.model_dump() for bucket, one in copied.items()})


def owner_of(service: str) -> Owner:
    """What a service says of its bucket and its records; loads that service alone."""
    if service not in SERVICES:
        raise typer.BadParameter(f"{service!r} is none of {', '.join(SERVICES)}")
    owner: Owner = importlib.import_module(f"services.{service}.references").OWNER
    return owner


@contextmanager
def opened(shared: Shared, services: Sequence[str]) -> Iterator[list[tuple[Owner, Records]]]:
    """Services with their records, whose tables are as this code needs them."""
    with ExitStack() as stack:
        pairs = []
        for name in services:
            owner, records = owner_of(name), open_records(shared.records(name))
            stack.callback(records.close)
            ensure_migrated(records, migrations_of(name))
            pairs.append((owner, records))
        yield pairs


def _files(count: int, size: int) -> dict[str, int]:
    return {"removed": count, "bytes": size}


def _print(content: object) -> None:
    typer.echo(json.dumps(content, indent=1))
