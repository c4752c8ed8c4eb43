"""Leases prevent two processes from performing the same step at the same time.

A lease has a fencing epoch that grows with each holder. The holder renews the lease while it works, and checks the
epoch in the transaction that commits its result. If another process has taken over (because the holder hung, or its
network was down), the epoch differs, and the holder commits nothing. A lost lease does not stop the job: the loss is
noticed at the next commit of a result or a milestone.
"""

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from sqlalchemy import Column, Integer, MetaData, String, Table, delete, insert, select, update
from sqlalchemy.orm import Session

from services.common.errors import Busy, LeaseLost, Overtaken, Unavailable
from services.common.observability.logs import get_logger
from services.common.records.database import Records
from services.common.records.types import UtcTime, now

log = get_logger(__name__)

TTL_S = 30.0
RENEWALS = 3
"""A lease is renewed this many times in its duration."""


def leases_table(metadata: MetaData) -> Table:
    """Define the table of leases, which every service with jobs has."""
    return Table(
        "leases",
        metadata,
        Column("name", String(300), primary_key=True),
        Column("holder", String(64), nullable=False),
        Column("epoch", Integer, nullable=False),
        Column("expires", UtcTime, nullable=False),
    )


class Lease:
    """A held lease. Call `check` in the transaction that commits the result."""

    def __init__(self, table: Table, name: str, epoch: int) -> None:
        self._table, self._name, self._epoch = table, name, epoch

    def check(self, session: Session) -> None:
        """Raise LeaseLost if another process has taken over. Until the transaction ends, no process can."""
        query = select(self._table.c.epoch).where(self._table.c.name == self._name).with_for_update()
        if session.scalar(query) != self._epoch:
            raise LeaseLost(f"the lease of {self._name} was taken over; this result is not recorded")


class Leases:
    """The leases of one service."""

    def __init__(self, records: Records, table: Table, ttl_s: float = TTL_S) -> None:
        self._records, self._table, self._ttl_s = records, table, ttl_s

    @contextmanager
    def hold(self, name: str) -> Iterator[Lease]:
        """Hold the lease of a name for the block, and renew it. Busy if another process holds it."""
        holder = uuid.uuid4().hex
        epoch = self._take(name, holder)
        done = threading.Event()
        renewer = threading.Thread(target=self._renew, args=(name, epoch, done), name=f"lease:{name}", daemon=True)
        renewer.start()
        try:
            yield Lease(self._table, name, epoch)
        finally:
            done.set()
            renewer.join()
            self._expire(name, epoch)

    def clear(self) -> None:
        """Delete all leases. For the embedded form, where every holder has ended with the previous process."""
        with self._records.transaction() as session:
            session.execute(delete(self._table))

    def _take(self, name: str, holder: str) -> int:
        table = self._table
        try:
            with self._records.transaction() as session:
                query = select(table.c.epoch, table.c.expires).where(table.c.name == name).with_for_update()
                row = session.execute(query).one_or_none()
                if row is None:
                    values = {"name": name, "holder": holder, "epoch": 1, "expires": self._end()}
                    session.execute(insert(table).values(values))
                    return 1
                if row.expires > now():
                    raise Busy(f"another process works on {name} until {row.expires:%H:%M:%S}")
                taken = {"holder": holder, "epoch": row.epoch + 1, "expires": self._end()}
                session.execute(update(table).where(table.c.name == name).values(taken))
                return int(row.epoch) + 1
        except Overtaken as error:
            raise Busy(f"another process has just begun to work on {name}") from error

    def _renew(self, name: str, epoch: int, done: threading.Event) -> None:
        while not done.wait(self._ttl_s / RENEWALS):
            try:
                self._extend(name, epoch, self._end())
            except Unavailable as error:
                log.warning("lease not renewed", name=name, reason=str(error))

    def _expire(self, name: str, epoch: int) -> None:
        try:
            self._extend(name, epoch, now())
        except Unavailable as error:
            log.warning("lease not released; it will expire", name=name, reason=str(error))

    def _extend(self, name: str, epoch: int, end: datetime) -> None:
        own = (self._table.c.name == name) & (self._table.c.epoch == epoch)
        with self._records.transaction() as session:
            session.execute(update(self._table).where(own).values(expires=end))

    def _end(self) -> datetime:
        return now() + timedelta(seconds=self._ttl_s)
