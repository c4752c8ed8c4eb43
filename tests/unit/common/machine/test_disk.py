"""Full disks: writes that do not fit are retried later, and leave nothing half-written."""

import errno
import os
import tempfile
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, LargeBinary, MetaData, Table, insert

from services.common.blobs import FolderBlobs
from services.common.errors import Unavailable
from services.common.machine.disk import TRANSIENT, transient_faults
from services.common.records import open_records
from services.common.work.jobs import Job, JobFunction
from services.common.work.runner import JobRunner

FULL = Path("/dev/full")
"""A file of the kernel: every write to it fails as on a full disk."""


WRITE_TO_FULL_DISK: JobFunction[None, None] = JobFunction(f"{__name__}:write_to_full_disk")


@WRITE_TO_FULL_DISK.implements
def write_to_full_disk(_job: Job, _spec: None) -> None:
    """A job whose scratch disk is full."""
    with FULL.open("wb") as file:
        file.write(bytes(1 << 20))


@pytest.mark.parametrize("size", [10, 1 << 20], ids=["at the flush", "at the write"])
def test_a_full_disk_of_objects_is_unavailable(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A put raises Unavailable, which names the object, and leaves neither an object nor a file."""
    blobs, source = FolderBlobs(tmp_path / "objects"), tmp_path / "source"
    source.write_bytes(bytes(size))

    def on_full_disk(dir: Path) -> tuple[int, str]:
        descriptor, name = real(dir=dir)
        os.close(descriptor)
        return os.open(FULL, os.O_WRONLY), name

    real = tempfile.mkstemp
    monkeypatch.setattr(tempfile, "mkstemp", on_full_disk)
    with pytest.raises(Unavailable, match="object training/a/b fails on a full or broken disk"):
        blobs.put("training", "a/b", bytes(size))
    with pytest.raises(Unavailable, match="object training/a/b"):
        blobs.put_file("training", "a/b", source)
    assert list(blobs.list("training")) == []
    assert list((tmp_path / "objects" / ".incoming").iterdir()) == []
    monkeypatch.undo()
    blobs.put("training", "a/b", bytes(size))
    assert blobs.size("training", "a/b") == size


def test_a_full_disk_of_a_job_is_unavailable() -> None:
    """The job raises Unavailable, so that it is retried, and not recorded as failed."""
    runner = JobRunner("full")
    try:
        with pytest.raises(Unavailable, match="test_disk:write_to_full_disk fails on a full or broken disk"):
            runner.run(WRITE_TO_FULL_DISK, None)
    finally:
        runner.close()


def test_a_full_database_is_unavailable(tmp_path: Path) -> None:
    """A transaction that does not fit raises Unavailable and changes nothing; with more space it succeeds."""
    records = open_records(f"sqlite:///{tmp_path / 'records.sqlite'}")
    table = Table("t", MetaData(), Column("id", Integer, primary_key=True), Column("content", LargeBinary))
    with records.transaction() as session:
        table.create(session.connection())
        session.execute(insert(table).values(id=1, content=b"kept"))
    for pages, fits in ((100, False), (100_000, True)):
        with records.reading() as session:  # the pool hands out this same connection again
            session.connection().exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        if fits:
            with records.transaction() as session:
                session.execute(insert(table).values(id=2, content=bytes(1 << 20)))
        else:
            with pytest.raises(Unavailable, match="full"), records.transaction() as session:
                session.execute(insert(table).values(id=2, content=bytes(1 << 20)))
        with records.reading() as session:
            assert [row.id for row in session.execute(table.select())] == ([1, 2] if fits else [1])
    records.close()


@pytest.mark.parametrize("number", TRANSIENT)
def test_faults_of_a_disk_are_transient(number: int) -> None:
    """They are recognised as an OSError, and in the messages of libraries that raise other errors."""
    for fault in (OSError(number, "message"), RuntimeError(f"I/O error: message (os error {number})")):
        with pytest.raises(Unavailable, match="the thing fails"), transient_faults("the thing"):
            raise fault


def test_other_faults_are_raised_unchanged() -> None:
    """A missing file or a defect is not a fault of the disk."""
    for fault in (FileNotFoundError(errno.ENOENT, "message"), ValueError("28")):
        with pytest.raises(type(fault)), transient_faults("the thing"):
            raise fault
