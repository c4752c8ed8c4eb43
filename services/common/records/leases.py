"""Leases prevent two processes from performing the same step at the same time.

A lease names its holder. The holder renews the lease while it works, and looks for its name in the transaction that
commits its result. If another process has taken over (because the holder hung, or its network was down), the name
differs, and the holder commits nothing. A lost lease does not stop the job: the loss is noticed at the next commit of a
result or a milestone.

All times are those of one clock: the database's, or that of the machine for a file. The clocks of other machines do not
matter.
"""

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from sqlalchemy import Column, Integer, MetaData, String, Table, delete, func, insert, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement

from services.common.errors import Busy, LeaseLost, Overtaken, Unavailable
from services.common.observability.logs import get_logger
from services.common.records.database import Records
from services.common.records.types import UtcTime, now

log = get_logger(__name__)

TTL_S = 30.0
RENEWALS = 3
"""A lease is renewed this many times in its duration."""
ABANDONED_S = 3600.0
"""A lease whose holder died without releasing it is removed this long after its end."""


def leases_table(metadata: MetaData) -> Table:
    """Define the table of leases, which every service with jobs has.

    `epoch` grows with each holder. Processes of earlier versions compare it instead of the holder.
    """
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

    def __init__(self, table: Table, name: str, holder: str) -> None:
        self._table, self._name, self._holder = table, name, holder

    def check(self, session: Session) -> None:
        """Raise LeaseLost if another process has taken over. Until the transaction ends, no process can."""
        query = select(self._table.c.holder).where(self._table.c.name == self._name).with_for_update()
        if session.scalar(query) != self._holder:
            raise LeaseLost(f"the lease of {self._name} was taken over; this result is not recorded")


class Leases:
    """The leases of one service."""

    def __init__(self, records: Records, table: Table, ttl_s: float = TTL_S) -> None:
        self._records, self._table, self._ttl = records, table, timedelta(seconds=ttl_s)

    @contextmanager
    def hold(self, name: str) -> Iterator[Lease]:
        """Hold the lease of a name for the block, and renew it. Busy if another process holds it."""
        holder = uuid.uuid4().hex
        self._take(name, holder)
        done = threading.Event()
        renewer = threading.Thread(target=self._renew, args=(name, holder, done), name=f"lease:{name}", daemon=True)
        renewer.start()
        try:
            yield Lease(self._table, name, holder)
        finally:
            done.set()
            renewer.join()
            self._release(name, holder)

    def held(self, session: Session) -> set[str]:
        """Return the names of all leases that are held now."""
        live = self._table.c.expires > self._now(session)
        return set(session.scalars(select(self._table.c.name).where(live)))

    def remove_abandoned(self) -> None:
        """Remove the leases of holders that died, whose work nobody has taken over."""
        with self._records.transaction() as session:
            end = self._now(session) - timedelta(seconds=ABANDONED_S)
            session.execute(delete(self._table).where(self._table.c.expires < end))

    def clear(self) -> None:
        """Delete all leases. For the embedded form, where every holder has ended with the previous process."""
        with self._records.transaction() as session:
            session.execute(delete(self._table))

    def _take(self, name: str, holder: str) -> None:
        table = self._table
        try:
            with self._records.transaction() as session:
                query = select(table.c.epoch, table.c.expires).where(table.c.name == name).with_for_update()
                row = session.execute(query).one_or_none()
                time = self._now(session)
                taken = {"holder": holder, "expires": time + self._ttl}
                if row is None:
                    # Above every epoch of a released lease of this name, for processes of earlier versions.
                    session.execute(insert(table).values(name=name, epoch=int(time.timestamp()), **taken))
                elif row.expires > time:
                    raise Busy(f"another process works on {name} until {row.expires:%H:%M:%S}")
                else:
                    session.execute(update(table).where(table.c.name == name).values(epoch=row.epoch + 1, **taken))
        except Overtaken as error:
            raise Busy(f"another process has just begun to work on {name}") from error

    def _renew(self, name: str, holder: str, done: threading.Event) -> None:
        while not done.wait(self._ttl.total_seconds() / RENEWALS):
            try:
                with self._records.transaction() as session:
                    end = self._now(session) + self._ttl
                    session.execute(update(self._table).where(*self._own(name, holder)).values(expires=end))
            except Unavailable as error:
                log.warning("lease not renewed", name=name, reason=str(error))

    def _release(self, name: str, holder: str) -> None:
        try:
            with self._records.transaction() as session:
                session.execute(delete(self._table).where(*self._own(name, holder)))
        except Unavailable as error:
            log.warning("lease not released; it will expire", name=name, reason=str(error))

    def _own(self, name: str, holder: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        return self._table.c.name == name, self._table.c.holder == holder

    def _now(self, session: Session) -> datetime:
        """Return the time by the clock that all holders share."""
        return session.scalars(select(func.clock_timestamp())).one() if self._records.shared else now()
