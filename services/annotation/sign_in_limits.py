"""Limits of the attempts to sign in: after some failures, the next attempt has to wait, twice as long each time.

Failures count by name and by network address, in the records, so that all replicas share them. A name that has no
account counts like one that has, so that nobody learns which names exist. Nobody is locked out for ever: the longest
delay is some minutes, then the right password signs in, and a new invitation ends the delay of a name at once.
"""

import hashlib
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import NamedTuple

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from services.annotation.tables import SignInAttemptsRow
from services.common.errors import Overtaken, TooMany
from services.common.records import Records, now


class Limit(NamedTuple):
    """`free` failures without a delay, then one that doubles with each failure, up to `longest`."""

    free: int
    longest: timedelta

    def delay(self, failures: int) -> timedelta:
        """The delay after a number of failures."""
        beyond = failures - self.free
        return timedelta() if beyond < 0 else min(timedelta(seconds=2 ** min(beyond, 20)), self.longest)


OF_NAME = Limit(5, timedelta(minutes=5))
OF_ADDRESS = Limit(30, timedelta(minutes=1))
"""Many people may share an address, behind a proxy or a hospital's gateway."""
FORGOTTEN_AFTER = timedelta(hours=1)
"""Failures are forgotten when no other has followed for this time."""
MOST_PRUNED = 1000
"""Old rows that one attempt deletes."""


class SignInDelayed(TooMany):
    """The next attempt to sign in has to wait."""

    def __init__(self, wait: timedelta) -> None:
        self.wait_s = max(1, ceil(wait.total_seconds()))
        super().__init__(f"Too many attempts to sign in have failed. Wait {self.wait_s} s, then repeat it.")


class Attempt(NamedTuple):
    """An attempt that counts as failed until `SignInLimits.succeeded`."""

    name: str
    address: str


@dataclass
class SignInLimits:
    """Counts the failed attempts to sign in."""

    records: Records
    clock: Callable[[], datetime] = now

    def begin(self, name: str, address: str) -> Attempt:
        """Count an attempt as failed before its password is verified, so that no number of simultaneous attempts gets
        past the limit. SignInDelayed if it has to wait; then nothing is verified or counted."""
        attempt = Attempt(_digest("name", name), _digest("address", network_of(address)))
        try:
            self._begin(attempt)
        except Overtaken:  # another attempt has just added the same row: now it is found
            self._begin(attempt)
        return attempt

    def succeeded(self, attempt: Attempt) -> None:
        """Forget the failures of the name, and this attempt of the address. Its others may be those of an attacker who
        has an account."""
        with self.records.transaction() as session:
            self._forget(session, attempt.name)
            row = session.get(SignInAttemptsRow, attempt.address, with_for_update=True)
            if row is not None:
                row.failures -= 1
                row.delayed_until = row.last + OF_ADDRESS.delay(row.failures)

    def forget(self, name: str) -> None:
        """Forget the failures of a name."""
        with self.records.transaction() as session:
            self._forget(session, _digest("name", name))

    def _begin(self, attempt: Attempt) -> None:
        with self.records.transaction() as session:
            self._prune(session)
            limits = sorted([(attempt.name, OF_NAME), (attempt.address, OF_ADDRESS)])  # one order of locks for all
            rows = [(self._row(session, key), limit) for key, limit in limits]
            time = self.clock()  # after waiting for the locks
            waits = [row.delayed_until - time for row, _ in rows if row.delayed_until > time]
            if waits:
                raise SignInDelayed(max(waits))
            for row, limit in rows:
                row.failures, row.last = row.failures + 1, time
                row.delayed_until = time + limit.delay(row.failures)

    def _row(self, session: Session, key: str) -> SignInAttemptsRow:
        time = self.clock()
        row = session.get(SignInAttemptsRow, key, with_for_update=True)
        if row is None:
            row = SignInAttemptsRow(key_sha256=key, failures=0, last=time, delayed_until=time)
            session.add(row)
            session.flush()
        if row.last <= time - FORGOTTEN_AFTER:
            row.failures = 0
        return row

    def _prune(self, session: Session) -> None:
        """Delete old rows, except those that another transaction uses: waiting for these could end in a deadlock."""
        old = select(SignInAttemptsRow.key_sha256).where(SignInAttemptsRow.last <= self.clock() - FORGOTTEN_AFTER)
        keys = session.scalars(old.limit(MOST_PRUNED).with_for_update(skip_locked=True)).all()
        session.execute(delete(SignInAttemptsRow).where(SignInAttemptsRow.key_sha256.in_(keys)))

    @staticmethod
    def _forget(session: Session, key: str) -> None:
        session.execute(delete(SignInAttemptsRow).where(SignInAttemptsRow.key_sha256 == key))


def network_of(address: str) -> str:
    """The network that counts as one address: one caller usually has 2^64 addresses of IPv6."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 4:
        return str(found)
    mapped = found.ipv4_mapped
    return str(mapped) if mapped is not None else str(ipaddress.ip_network((found, 64), strict=False))


def _digest(kind: str, value: str) -> str:
    return hashlib.sha256(f"{kind}:{value}".encode()).hexdigest()
