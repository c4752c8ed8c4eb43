"""The contract of every form of the records."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import struct_pb2
from sqlalchemy import JSON, ForeignKey, String, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from deploy.local.servers import Server
from services.common.bus import MemoryBus
from services.common.errors import Busy, InvalidInput, LeaseLost, Overtaken, Unavailable
from services.common.records import Leases, Outbox, Records, UtcTime, leases_table, migrate, open_records, outbox_table
from services.common.records.postgres import CONNECTIONS
from tests.servers import fresh_schema

LIMIT_S = 10.0


class Base(DeclarativeBase):
    pass


OUTBOX = outbox_table(Base.metadata)
LEASES = leases_table(Base.metadata)


class Thing(Base):
    __tablename__ = "things"

    name: Mapped[str] = mapped_column(String(50), primary_key=True)
    facts: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    seen: Mapped[datetime | None] = mapped_column(UtcTime)
    part_of: Mapped[str | None] = mapped_column(ForeignKey("things.name"))


@pytest.fixture(autouse=True)
def _tables(records: Records) -> None:
    Base.metadata.create_all(records.engine)


def names(records: Records) -> list[str]:
    with records.reading() as session:
        return list(session.scalars(select(Thing.name).order_by(Thing.name)))


def test_a_transaction_is_committed_at_its_end(records: Records) -> None:
    """The rows that the block added exist afterwards, with nested JSON."""
    with records.transaction() as session:
        session.add(Thing(name="a", facts={"list": [1, 2.5, None, "é"], "nested": {"yes": True}}))
    with records.reading() as session:
        assert session.get_one(Thing, "a").facts == {"list": [1, 2.5, None, "é"], "nested": {"yes": True}}


def test_a_transaction_that_raises_leaves_nothing(records: Records) -> None:
    """An exception rolls back the whole block and is raised again."""
    with pytest.raises(ZeroDivisionError), records.transaction() as session:
        session.add(Thing(name="a"))
        session.flush()
        _ = 1 / 0
    assert names(records) == []


def test_a_key_is_used_once(records: Records) -> None:
    """A second row with the same key raises Overtaken, after which a retry may help, and the first row stays."""
    with records.transaction() as session:
        session.add(Thing(name="a", facts={"first": True}))
    with pytest.raises(Overtaken), records.transaction() as session:
        session.add(Thing(name="a"))
    with records.reading() as session:
        assert session.get_one(Thing, "a").facts == {"first": True}


def test_a_reference_needs_its_target(records: Records) -> None:
    """Foreign keys are enforced."""
    with pytest.raises(IntegrityError), records.transaction() as session:
        session.add(Thing(name="a", part_of="nothing"))
        session.flush()


def test_a_moment_keeps_its_zone(records: Records) -> None:
    """A time in any zone comes back as the same moment in UTC; a time without a zone is refused."""
    moment = datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=timezone(timedelta(hours=5)))
    with records.transaction() as session:
        session.add(Thing(name="a", seen=moment))
    with records.reading() as session:
        seen = session.get_one(Thing, "a").seen
    assert seen == moment
    assert seen is not None
    assert seen.tzinfo == UTC
    with pytest.raises(Exception, match="zone"), records.transaction() as session:
        session.add(Thing(name="b", seen=datetime(2026, 1, 1)))
        session.flush()


def test_a_lack_of_connections_is_unavailable(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that finds all connections in use may retry, as when the server is down.

    A process uses at most CONNECTIONS of a server.
    """
    monkeypatch.setattr(records.engine.pool, "_timeout", 0.1)
    taken = 0
    with pytest.raises(Unavailable, match="all connections to them are in use"), ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(records.reading()).execute(select(Thing.name))
            taken += 1
    assert not records.shared or taken == CONNECTIONS


def test_concurrent_writers_wait_for_each_other(records: Records) -> None:
    """Read-modify-write from eight threads loses no change."""
    with records.transaction() as session:
        session.add(Thing(name="count", facts={"n": 0}))

    def add_one(_: int) -> None:
        with records.transaction() as session:
            thing = session.get_one(Thing, "count", with_for_update=True)
            thing.facts = {"n": thing.facts["n"] + 1}

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add_one, range(80)))
    with records.reading() as session:
        assert session.get_one(Thing, "count").facts == {"n": 80}


def test_a_reader_does_not_wait_for_a_writer(records: Records) -> None:
    """While a transaction is open, a reader sees the state before it."""
    with records.transaction() as session:
        session.add(Thing(name="before"))
    inside, leave = threading.Event(), threading.Event()

    def write() -> None:
        with records.transaction() as session:
            session.add(Thing(name="later"))
            session.flush()
            inside.set()
            leave.wait(LIMIT_S)

    writer = threading.Thread(target=write)
    writer.start()
    assert inside.wait(LIMIT_S)
    assert names(records) == ["before"]
    leave.set()
    writer.join(LIMIT_S)
    assert names(records) == ["before", "later"]


def test_a_reader_sees_one_snapshot(records: Records) -> None:
    """Rows that are committed while it reads are invisible to its later queries too: it sees rows that refer to each
    other together or not at all."""
    with records.transaction() as session:
        session.add(Thing(name="before"))
    with records.reading() as reader:
        assert list(reader.scalars(select(Thing.name))) == ["before"]
        with records.transaction() as session:
            session.add(Thing(name="later"))
        assert list(reader.scalars(select(Thing.name))) == ["before"]
    assert names(records) == ["before", "later"]


def test_the_outbox_sends_committed_messages_in_order(records: Records) -> None:
    """Messages of committed transactions arrive on the bus in order; those of a rolled-back one never do."""
    bus = MemoryBus()
    bus.declare("work", ["google.protobuf.Value"])
    outbox = Outbox(records, OUTBOX, bus)
    for number in range(3):
        with records.transaction() as session:
            outbox.publish(session, struct_pb2.Value(number_value=number))
    with pytest.raises(ZeroDivisionError), records.transaction() as session:
        outbox.send(session, "work", struct_pb2.Value(string_value="never"))
        _ = 1 / 0
    assert outbox.flush() == 3
    assert outbox.flush() == 0
    received: list[str] = []
    done = threading.Event()
    bus.subscribe(
        "work", lambda envelope: (received.append(envelope.body), done.set() if len(received) == 3 else None)[0]
    )
    assert done.wait(LIMIT_S)
    assert received == ["0.0", "1.0", "2.0"]
    bus.close()


def test_migrating_twice_is_harmless(records: Records, tmp_path: Path) -> None:
    """Each migration runs once, in order, and keeps the rows of the tables."""
    versions = tmp_path / "versions"
    versions.mkdir()
    (versions / "0001_x.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\nrevision = '0001'\ndown_revision = None\n\n\n"
        "def upgrade():\n    op.create_table('more', sa.Column('name', sa.String(9), primary_key=True))\n"
    )
    migrate(records, versions)
    with records.transaction() as session:
        session.connection().exec_driver_sql("INSERT INTO more VALUES ('kept')")
    migrate(records, versions)
    with records.reading() as session:
        assert session.connection().exec_driver_sql("SELECT name FROM more").scalar() == "kept"


def test_a_lease_has_one_holder(records: Records) -> None:
    """While it is held, no other process gets it; after its release the earlier holder can commit nothing."""
    leases = Leases(records, LEASES)
    with leases.hold("job") as lease:
        with pytest.raises(Busy, match="job"), leases.hold("job"):
            pass
        with leases.hold("another"), records.transaction() as session:
            lease.check(session)
    with leases.hold("job") as second:
        with records.transaction() as session:
            second.check(session)
        with pytest.raises(LeaseLost, match="job"), records.transaction() as session:
            lease.check(session)


def test_ended_leases_are_removed(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    """A released lease leaves no row. One whose holder died is removed an hour after its end, and not before."""
    leases = Leases(records, LEASES)
    with leases.hold("job"), records.reading() as session:
        assert leases.held(session) == {"job"}
    with records.reading() as session:
        assert session.scalars(select(LEASES.c.name)).all() == []
    with records.transaction() as session:
        for name, ended in (("dead", timedelta(hours=2)), ("just dead", timedelta(minutes=1))):
            values = {"name": name, "holder": "h", "epoch": 1, "expires": datetime.now(UTC) - ended}
            session.execute(insert(LEASES).values(values))
    leases.remove_abandoned()
    with records.reading() as session:
        assert session.scalars(select(LEASES.c.name)).all() == ["just dead"]
        assert leases.held(session) == set()


def test_a_holder_of_an_earlier_version_is_fenced(records: Records) -> None:
    """Earlier versions compare the epoch: it never repeats, although the row of a released lease is removed."""
    leases, epochs = Leases(records, LEASES), []
    with records.transaction() as session:
        values = {"name": "job", "holder": "old", "epoch": 1, "expires": datetime.now(UTC) - timedelta(seconds=1)}
        session.execute(insert(LEASES).values(values))
    for _ in range(2):
        with leases.hold("job"), records.reading() as session:
            epochs.append(session.scalar(select(LEASES.c.epoch)))
    assert epochs[0] == 2 and epochs[1] is not None and epochs[1] > 1_000_000_000


def test_a_host_whose_clock_is_ahead_takes_no_live_lease(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases end by the database's clock: for a host five minutes ahead, the lease of another host is still held, and
    its own lease ends no later than that of others."""
    records = open_records(fresh_schema(postgres))
    Base.metadata.create_all(records.engine)
    leases = Leases(records, LEASES)
    with leases.hold("job"):
        ahead = datetime.now(UTC) + timedelta(minutes=5)
        monkeypatch.setattr("services.common.records.leases.now", lambda: ahead)
        with pytest.raises(Busy), Leases(records, LEASES).hold("job"):
            pass
        with Leases(records, LEASES).hold("another"), records.reading() as session:
            [end] = session.scalars(select(LEASES.c.expires).where(LEASES.c.name == "another"))
            assert end < ahead - timedelta(minutes=4)
    records.close()


def test_a_lease_is_renewed_while_it_is_held(records: Records) -> None:
    """A holder still has the lease after three times its duration."""
    leases = Leases(records, LEASES, ttl_s=0.3)
    with leases.hold("job") as lease:
        ends = [_expiry(records)]
        while len(ends) < 4:
            end = _expiry(records)
            if end != ends[-1]:
                ends.append(end)
        with pytest.raises(Busy), leases.hold("job"):
            pass
        with records.transaction() as session:
            lease.check(session)


def test_a_silent_holder_is_taken_over_and_fenced(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that is not renewed ends. If its old holder is alive after all, it cannot commit."""
    monkeypatch.setattr(Leases, "_renew", lambda *_: None)
    leases = Leases(records, LEASES, ttl_s=0.2)
    with leases.hold("job") as old:
        taken = False
        while not taken:
            try:
                with leases.hold("job") as new, records.transaction() as session:
                    new.check(session)
                    taken = True
            except Busy:
                continue
        with pytest.raises(LeaseLost), records.transaction() as session:
            old.check(session)


def test_one_of_many_concurrent_callers_gets_a_lease(records: Records) -> None:
    """Of eight threads one holds the lease; the others receive Busy."""
    leases = Leases(records, LEASES)
    begin, end = threading.Barrier(8), threading.Barrier(8)

    def hold(_: int) -> bool:
        begin.wait(LIMIT_S)
        try:
            with leases.hold("job"):
                end.wait(LIMIT_S)
                return True
        except Busy:
            end.wait(LIMIT_S)
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(hold, range(8))) == 1


def _expiry(records: Records) -> datetime:
    with records.reading() as session:
        return session.execute(select(LEASES.c.expires)).scalar_one()


@pytest.mark.parametrize("value", ["\0", "a\0b"])
def test_a_value_that_cannot_be_stored_is_invalid_input(records: Records, value: str) -> None:
    """A name that this form of the records cannot store is InvalidInput, not a defect; else nothing is found."""

    def find() -> int | None:
        with records.reading() as session:
            return session.scalar(select(LEASES.c.epoch).where(LEASES.c.name == value))

    if records.engine.dialect.name == "sqlite":
        assert find() is None
    else:
        with pytest.raises(InvalidInput, match="cannot hold such a value"):
            find()
