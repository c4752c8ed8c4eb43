"""Sessions of signed-in browsers: random tokens. The table holds only their hashes."""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, or_
from sqlalchemy.orm import Session

from services.annotation.roles import role_of_call
from services.annotation.settings import AnnotationSettings
from services.annotation.tables import ReaderRow, SessionRow
from services.annotation.workflow.readers import Reader, is_bound_to_another, sees_units
from services.common.access.tokens import Access, Caller, Tokens
from services.common.errors import NotSignedIn
from services.common.records import Records, now

HOST_TOKEN = "h."
"""The beginning of tokens that are made over TLS; see `auth.token_of`. Other tokens have no full stop."""
SEEN_EVERY = timedelta(seconds=60)
"""The time of the last request is written at most this often, so that not every picture causes a write."""


@dataclass
class Sessions:
    """Opens sessions at sign-in. A session ends at sign-out, after some time without requests, and at a maximum age. If
    the service has access tokens, it also ends when its access token is removed, expires, or no longer allows signing
    in."""

    records: Records
    settings: AnnotationSettings
    clock: Callable[[], datetime] = now
    tokens: Tokens | None = None

    def open(self, reader: Reader, old_token: str = "", caller: Caller | None = None) -> str:
        """Open a session and return its token. The browser's old session ends: no session token outlives a new sign-in.
        `caller` holds the access token that the reader entered."""
        token = (HOST_TOKEN if self.settings.over_tls else "") + secrets.token_urlsafe(32)
        time = self.clock()
        with self.records.transaction() as session:
            self._forget(session, old_token)
            session.execute(delete(SessionRow).where(self._outdated(time)))
            session.add(
                SessionRow(
                    token_sha256=_digest(token),
                    reader_id=reader.reader_id,
                    created=time,
                    seen=time,
                    sees_units=sees_units(caller),
                    access_sha256=caller.sha256 if caller is not None else "",
                )
            )
        return token

    def reader(self, token: str) -> Reader | None:
        """The reader of a session. None if the token is unknown, the session is idle for too long or too old, or its
        access token is no longer valid."""
        if not token:
            return None
        time = self.clock()
        with self.records.reading() as session:
            row = session.get(SessionRow, _digest(token))
            if row is None or self._is_outdated(row, time):
                return None
            reader = session.get_one(ReaderRow, row.reader_id)
            seen, may_see, access = row.seen, row.sees_units, row.access_sha256
        caller = None
        if self.tokens is not None:
            caller = _holder(self.tokens, access)
            if caller is None or is_bound_to_another(caller, reader.name):
                return None
            may_see = sees_units(caller)
        if time - seen > SEEN_EVERY:
            self._set_seen(token, time)
        return Reader(reader.reader_id, reader.name, may_see, role_of_call(caller))

    def allows(self, token: str, service: str, access: Access) -> bool:
        """Whether the access token that opened a session allows this access to a service, and belongs to no reader.
        Without access tokens, every session allows everything."""
        if self.tokens is None:
            return True
        with self.records.reading() as session:
            row = session.get(SessionRow, _digest(token))
        caller = _holder(self.tokens, row.access_sha256) if row is not None else None
        return caller is not None and not caller.reader and caller.allows(service, access)

    def close(self, token: str) -> None:
        """End a session."""
        with self.records.transaction() as session:
            self._forget(session, token)

    def _set_seen(self, token: str, time: datetime) -> None:
        with self.records.transaction() as session:
            row = session.get(SessionRow, _digest(token))
            if row is not None:
                row.seen = max(row.seen, time)

    def _forget(self, session: Session, token: str) -> None:
        session.execute(delete(SessionRow).where(SessionRow.token_sha256 == _digest(token)))

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


def _holder(tokens: Tokens, sha256: str) -> Caller | None:
    """The holder of an access token; None if the token no longer allows signing in."""
    try:
        caller = tokens.holder_of(sha256)
    except NotSignedIn:
        return None
    return caller if caller.allows("annotation", "write") else None


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
