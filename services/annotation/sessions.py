"""Sessions of signed-in browsers: random tokens. The table holds only their hashes."""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, delete, or_, select
from sqlalchemy.orm import Session

from services.annotation.roles import role_of_call
from services.annotation.settings import AnnotationSettings
from services.annotation.tables import AccountRow, ReaderRow, SessionRow
from services.annotation.workflow.account_rows import Account, account_of
from services.annotation.workflow.readers import Reader, is_bound_to_another, sees_units, trains
from services.common.access.tokens import Access, Caller, Tokens
from services.common.errors import NotFound, NotSignedIn
from services.common.records import Records, now

HOST_TOKEN = "h."
"""The beginning of tokens that are made over TLS; see `auth.token_of`. Other tokens have no full stop."""
SEEN_EVERY = timedelta(seconds=60)
"""The time of the last request is written at most this often, so that not every picture causes a write."""


LONGEST_BROWSER = 200
"""Characters that a session keeps of what its browser calls itself."""


class SessionView(NamedTuple):
    """A session in the list of a reader's own."""

    session_id: str
    """The beginning of the hash of its token: enough to distinguish the sessions of a reader."""
    browser: str
    created: datetime
    seen: datetime
    is_current: bool


@dataclass
class Sessions:
    """Opens sessions at sign-in. A session ends at sign-out, after some time without requests, and at a maximum age.

    If the service has access tokens, a session that was opened with one also ends when that token is removed, expires,
    or no longer allows signing in. With `with_accounts`, a session of an account has the role of the account at the
    time of each request, and ends when the account is disabled.
    """

    records: Records
    settings: AnnotationSettings
    clock: Callable[[], datetime] = now
    tokens: Tokens | None = None
    with_accounts: bool = False

    def open(
        self,
        reader: Reader,
        old_token: str = "",
        caller: Caller | None = None,
        account: Account | None = None,
        browser: str = "",
    ) -> str:
        """Open a session and return its token. The browser's old session ends: no session token outlives a new sign-in.

        `caller` holds the access token that the reader entered; `account` is the one that the reader signed in to.
        NotSignedIn if the account was disabled or its password changed since it was read.
        """
        token = (HOST_TOKEN if self.settings.over_tls else "") + secrets.token_urlsafe(32)
        time = self.clock()
        with self.records.transaction() as session:
            if account is not None:
                _set_signed_in(session, account, time)
            self._forget(session, old_token)
            session.execute(delete(SessionRow).where(self._outdated(time)))
            session.add(
                SessionRow(
                    token_sha256=digest_of(token),
                    reader_id=reader.reader_id,
                    created=time,
                    seen=time,
                    sees_units=sees_units(caller) if account is None else False,
                    access_sha256=caller.sha256 if caller is not None else "",
                    account_id=account.account_id if account is not None else "",
                    browser=browser[:LONGEST_BROWSER],
                )
            )
        return token

    def reader(self, token: str, by_person: bool = True) -> Reader | None:
        """The reader of a session. None if the token is unknown, the session is idle for too long or too old, its
        access token is no longer valid, or its account is disabled. A look that is not `by_person`, such as that of an
        open stream, does not keep the session from becoming idle."""
        if not token:
            return None
        time = self.clock()
        with self.records.reading() as session:
            row = session.get(SessionRow, digest_of(token))
            if row is None or self._is_outdated(row, time):
                return None
            reader = self._of_account(session, row) if row.account_id else self._of_token(session, row)
        if reader is not None and by_person and time - row.seen > SEEN_EVERY:
            self._set_seen(token, time)
        return reader

    def allows(self, token: str, service: str, access: Access) -> bool:
        """Whether a session allows this access to a service, as an operator. The access token that opened it must, and
        belong to no reader; administrators may read and write, and researchers read. Without access tokens, every
        session allows everything."""
        if self.tokens is None:
            return True
        with self.records.reading() as session:
            row = session.get(SessionRow, digest_of(token))
            reader = self._of_account(session, row) if row is not None and row.account_id else None
        if reader is not None:
            return reader.administers or (reader.manages and access == "read")
        caller = _holder(self.tokens, row.access_sha256) if row is not None else None
        return caller is not None and not caller.reader and caller.allows(service, access)

    def controls(self, token: str, service: str) -> bool:
        """Whether a session may change the runs, plans and data sets of a service. The access token that opened it must
        allow writing there, and belong to no reader; the role of an account must allow it. Without access tokens, every
        session may."""
        reader = self.reader(token)
        if reader is None or self.tokens is None or reader.account_id:
            return reader is not None and reader.trains
        return self.allows(token, service, "write")

    def close(self, token: str) -> None:
        """End a session."""
        with self.records.transaction() as session:
            self._forget(session, token)

    def own(self, reader: Reader, token: str) -> list[SessionView]:
        """The open sessions of a reader, newest first. Those of the reader's account do not include those that somebody
        opened for the same reader with an access token, and the reverse."""
        with self.records.reading() as session:
            rows = session.scalars(select(SessionRow).where(*_own(reader)).order_by(SessionRow.created.desc())).all()
        current, time = digest_of(token), self.clock()
        return [
            SessionView(_id_of(row), row.browser, row.created, row.seen, row.token_sha256 == current)
            for row in rows
            if not self._is_outdated(row, time)
        ]

    def close_others(self, reader: Reader, token: str) -> None:
        """End all sessions of a reader but the one of the token."""
        with self.records.transaction() as session:
            others = SessionRow.token_sha256 != digest_of(token)
            session.execute(delete(SessionRow).where(*_own(reader), others))

    def close_own(self, reader: Reader, session_id: str) -> None:
        """End one of the sessions of a reader. NotFound if the reader has no such session."""
        with self.records.transaction() as session:
            rows = session.scalars(select(SessionRow).where(*_own(reader))).all()
            found = [row for row in rows if _id_of(row) == session_id]
            if not found:
                raise NotFound("You have no such session; it may have ended already.")
            for row in found:
                session.delete(row)

    def _of_account(self, session: Session, row: SessionRow) -> Reader | None:
        """The reader of a session of an account."""
        account = session.get(AccountRow, row.account_id) if self.with_accounts else None
        if account is None or account.state != "enabled":
            return None
        return account_of(session, account).reader

    def _of_token(self, session: Session, row: SessionRow) -> Reader | None:
        """The reader of a session that was opened with an access token, or without one if the service has none."""
        reader = session.get_one(ReaderRow, row.reader_id)
        if self.tokens is None:
            return Reader(reader.reader_id, reader.name, row.sees_units, role_of_call(None), trains=trains(None))
        caller = _holder(self.tokens, row.access_sha256)
        if caller is None or is_bound_to_another(caller, reader.name):
            return None
        return Reader(reader.reader_id, reader.name, sees_units(caller), role_of_call(caller), trains=trains(caller))

    def _set_seen(self, token: str, time: datetime) -> None:
        with self.records.transaction() as session:
            row = session.get(SessionRow, digest_of(token))
            if row is not None:
                row.seen = max(row.seen, time)

    def _forget(self, session: Session, token: str) -> None:
        session.execute(delete(SessionRow).where(SessionRow.token_sha256 == digest_of(token)))

    def _limits(self, time: datetime) -> tuple[datetime, datetime]:
        idle, absolute = self.settings.session_idle_s, self.settings.session_absolute_s
        return time - timedelta(seconds=idle), time - timedelta(seconds=absolute)

    def _is_outdated(self, row: SessionRow, time: datetime) -> bool:
        seen, created = self._limits(time)
        return row.seen <= seen or row.created <= created

    def _outdated(self, time: datetime) -> ColumnElement[bool]:
        seen, created = self._limits(time)
        return or_(SessionRow.seen <= seen, SessionRow.created <= created)


def csrf_token(token: str) -> str:
    """The CSRF token of a session. It is derived from the session's token, which no other site can read."""
    return hmac.new(token.encode(), b"csrf", hashlib.sha256).hexdigest()


def csrf_matches(token: str, csrf: str) -> bool:
    """Whether `csrf` is the CSRF token of the session with this token."""
    return hmac.compare_digest(csrf_token(token).encode(), csrf.encode())


def _own(reader: Reader) -> tuple[ColumnElement[bool], ...]:
    """The conditions on the sessions that a reader may see and end."""
    return SessionRow.reader_id == reader.reader_id, SessionRow.account_id == reader.account_id


def _id_of(row: SessionRow) -> str:
    return row.token_sha256[:16]


def _set_signed_in(session: Session, account: Account, time: datetime) -> None:
    """Write the time of a sign-in. The lock makes a session of an account that is disabled now, or whose password has
    changed, impossible."""
    row = session.get_one(AccountRow, account.account_id, with_for_update=True)
    if row.state != "enabled" or row.password_hash != account.password_hash:
        raise NotSignedIn("The account was changed in the meantime. Sign in again.")
    row.signed_in = time


def _holder(tokens: Tokens, sha256: str) -> Caller | None:
    """The holder of an access token; None if the token no longer allows signing in."""
    try:
        caller = tokens.holder_of(sha256)
    except NotSignedIn:
        return None
    return caller if caller.allows("annotation", "write") else None


def digest_of(token: str) -> str:
    """The hash under which a session is stored."""
    return hashlib.sha256(token.encode()).hexdigest()
