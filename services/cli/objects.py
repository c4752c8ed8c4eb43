"""`primitives buckets`, `gc`, `check` and `copy-objects`: commands over the stores and records of all services."""

import importlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Annotated

import typer

from services.cli.migrations import SERVICES, ChosenServices, chosen_services, migrations_of
from services.cli.output import print_json
from services.common.blobs import open_blobs
from services.common.blobs.copy import copy_buckets
from services.common.machine.old_files import remove_old_files
from services.common.objects.collector import collect
from services.common.objects.cross_check import cross_check
from services.common.objects.references import Owner
from services.common.records import Records, ensure_migrated, now, open_records
from services.common.settings import Shared

BUCKETS = ("training", "activation-extraction", "patch-rendering")
"""The buckets that services write to. They are listed here because reading them from the services would load torch."""


def buckets() -> None:
    """Create the missing buckets of the services, in stores where the services themselves may not create any."""
    blobs = open_blobs(Shared().blobs())
    for bucket in BUCKETS:
        blobs.ensure_bucket(bucket)
        typer.echo(bucket)


def gc(
    service: ChosenServices = None,
    grace_h: Annotated[
        float, typer.Option(min=0, help="Hours for which an object that nothing refers to is kept.")
    ] = 24.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    accept_empty: Annotated[
        bool, typer.Option("--accept-empty", help="Sweep a bucket even if the records refer to none of its objects.")
    ] = False,
) -> None:
    """Remove objects that no record or manifest refers to, and scratch files, once they are older than the grace.

    The grace must be longer than the longest import and the longest job. Exit status 1 if a referenced object is
    missing or cannot be read.
    """
    shared = Shared()
    before = now() - timedelta(hours=grace_h)
    blobs = open_blobs(shared.blobs())
    with open_owners(shared, chosen_services(service)) as owners:
        collected = [collect(owner, records, blobs, before, dry_run, accept_empty) for owner, records in owners]
    done = [one for one in collected if one is not None]
    count, size = remove_old_files(shared.scratch(), before, dry_run)
    scratch = {"removed": count, "bytes": size}
    print_json({"dry_run": dry_run, "services": [one.model_dump() for one in done], "scratch": scratch})
    if any(one.faults for one in done):
        raise typer.Exit(1)


def check(
    deep: Annotated[bool, typer.Option("--deep", help="Read all referenced objects and compare their sha256.")] = False,
) -> None:
    """Compare the records of all services with the objects, in both directions. Exit status 1 if there are faults."""
    shared = Shared()
    with open_owners(shared, SERVICES) as owners:
        checked = cross_check(owners, open_blobs(shared.blobs()), shared.scratch(), deep)
    print_json(checked.model_dump())
    if checked.faults:
        raise typer.Exit(1)


def copy_objects(
    to: Annotated[str, typer.Option(help="folder:///PATH or s3://KEY:SECRET@HOST:PORT.")],
    source: Annotated[
        str, typer.Option("--from", help="The same forms; by default the store that the settings name.")
    ] = "",
) -> None:
    """Copy the objects of all services to another store. Objects that exist there with the same size are skipped."""
    shared = Shared()
    buckets = [owner.bucket for owner in map(owner_of, SERVICES) if owner.bucket is not None]
    copied = copy_buckets(open_blobs(source or shared.blobs()), open_blobs(to), buckets, shared.scratch())
    print_json({bucket: one.model_dump() for bucket, one in copied.items()})


def owner_of(service: str) -> Owner:
    """Return the owner that a service declares. Only that service is imported."""
    owner: Owner = importlib.import_module(f"services.{service}.references").OWNER
    return owner


@contextmanager
def open_owners(shared: Shared, services: Sequence[str]) -> Iterator[list[tuple[Owner, Records]]]:
    """Open the records of services. Raise unless their tables have the version of this code."""
    with ExitStack() as stack:
        pairs = []
        for name in services:
            owner, records = owner_of(name), open_records(shared.records(name))
            stack.callback(records.close)
            ensure_migrated(records, migrations_of(name))
            pairs.append((owner, records))
        yield pairs
