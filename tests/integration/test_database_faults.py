"""PostgreSQL that freezes, fails over, ends sessions or does not finish: the records are Unavailable, and then back."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from deploy.local.servers import Server, start_postgres
from services.common.errors import Unavailable
from services.common.records import Records, migrate, open_records, postgres
from tests.servers import accessible_folder, fresh_database, fresh_schema


@pytest.fixture
def records(postgres: Server) -> Iterator[Records]:
    """Records with a table of one row, in a database of their own."""
    with opened(fresh_database(postgres)) as records:
        yield records


class opened:  # noqa: N801 - a context manager
    """Records of a new schema of a database, with a table `things` of one row."""

    def __init__(self, url: str) -> None:
        self.records = open_records(f"{url}?schema=faults")

    def __enter__(self) -> Records:
        with self.records.transaction() as session:
            session.execute(text("create table things (name text primary key)"))
            session.execute(text("insert into things values ('first')"))
        return self.records

    def __exit__(self, *_: object) -> None:
        self.records.close()


def send(server: Server, number: int) -> None:
    """Send a signal to all processes of a server: each of its children has a process group of its own."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    for process in (server.process.pid, *map(int, children)):
        os.kill(process, number)


def add(records: Records, name: str) -> None:
    with records.transaction() as session:
        session.execute(text("insert into things values (:name)"), {"name": name})


def names(records: Records) -> list[str]:
    with records.reading() as session:
        return list(session.scalars(text("select name from things order by name")))


def test_a_frozen_server_does_not_hold_its_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    """While all processes of the server are stopped, a write ends as Unavailable by the client's own limit. When they
    continue, so do the records."""
    monkeypatch.setattr(postgres, "CALL_LIMIT_S", 1.0)
    with accessible_folder() as folder:
        server = start_postgres(folder)
        try:
            with opened(server.url) as records:
                send(server, signal.SIGSTOP)
                with pytest.raises(Unavailable):
                    add(records, "second")
                with pytest.raises(Unavailable), records.reading() as session:
                    session.execute(text("select 1"))
                send(server, signal.SIGCONT)
                add(records, "third")
                assert names(records) == ["first", "third"]
        finally:
            send(server, signal.SIGCONT)
            server.stop()


def test_a_call_that_is_frozen_in_the_middle_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that freezes within a transaction ends it as Unavailable, and nothing of it is recorded."""
    monkeypatch.setattr(postgres, "CALL_LIMIT_S", 1.0)
    with accessible_folder() as folder:
        server = start_postgres(folder)
        try:
            with opened(server.url) as records:
                with pytest.raises(Unavailable, match="did not answer within 1 s"), records.transaction() as session:
                    session.execute(text("insert into things values ('second')"))
                    send(server, signal.SIGSTOP)
                    session.execute(text("select 1"))
                send(server, signal.SIGCONT)
                assert names(records) == ["first"]
        finally:
            send(server, signal.SIGCONT)
            server.stop()


def test_a_standby_is_unavailable_and_left(records: Records) -> None:
    """A server that only reads (SQLSTATE 25006), as after a failover, is Unavailable. The next transaction connects
    again, and so finds the server that writes."""
    name = records.engine.url.database
    set_default(records, f'alter database "{name}" set default_transaction_read_only = on')
    records.engine.dispose()  # the new connections of a failover
    with pytest.raises(Unavailable, match="read-only"):
        add(records, "second")
    set_default(records, f'alter database "{name}" set default_transaction_read_only = off')
    add(records, "third")
    assert names(records) == ["first", "third"]


def set_default(records: Records, command: str) -> None:
    with records.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("set default_transaction_read_only = off"))
        connection.execute(text(command))
        connection.invalidate()


def test_an_ended_session_is_unavailable(records: Records) -> None:
    """A session that the server ends (57P01, as in a restart) makes its transaction Unavailable; the next one works."""
    with pytest.raises(Unavailable), records.transaction() as session:
        own = session.scalar(text("select pg_backend_pid()"))
        with records.engine.connect() as other:
            other.execute(text("select pg_terminate_backend(:own)"), {"own": own})
        session.execute(text("insert into things values ('second')"))
    add(records, "third")
    assert names(records) == ["first", "third"]


def test_statements_and_locks_have_limits(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement that does not end, and one that waits for a lock, are Unavailable after the server's limits."""
    monkeypatch.setattr("services.common.records.postgres.STATEMENT_LIMIT_S", 1.0)
    monkeypatch.setattr("services.common.records.postgres.LOCK_LIMIT_S", 0.2)
    with opened(fresh_database(postgres)) as records:
        with pytest.raises(Unavailable, match="statement timeout"), records.reading() as session:
            session.execute(text("select pg_sleep(60)"))
        lock = text("select name from things for update")
        with records.transaction() as holder:
            holder.execute(lock)
            with pytest.raises(Unavailable, match="lock timeout"), records.transaction() as session:
                session.execute(lock)


def test_a_migration_has_no_limits(postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration may take longer than a statement of a service. Afterwards the limits hold again."""
    monkeypatch.setattr("services.common.records.postgres.STATEMENT_LIMIT_S", 0.5)
    monkeypatch.setattr("services.common.records.postgres.CALL_LIMIT_S", 0.6)
    (tmp_path / "0001_slow.py").write_text(
        "from alembic import op\nrevision = '0001'\ndown_revision = None\n\n\n"
        "def upgrade():\n    op.execute('select pg_sleep(1)')\n"
    )
    records = open_records(fresh_schema(postgres))
    migrate(records, tmp_path)
    with pytest.raises(Unavailable), records.reading() as session:
        session.execute(text("select pg_sleep(60)"))
    records.close()
