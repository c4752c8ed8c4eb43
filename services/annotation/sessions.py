"""Sessions of signed-in browsers: opaque tokens, of which the table knows only the hash."""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, or_
from sqlalchemy.orm import Session

from services.annotation.settings import AnnotationSettings
from services.annotation.tables import ReaderRow, SessionRow
from services.annotation.workflow.readers import Reader, is_bound_to_another
from services.common.access.tokens import Caller, Tokens
from services.common.errors import NotSignedIn
from services.common.records import Records, now

SEEN_EVERY = timedelta(seconds=60)
"""How old the last sight of a session may be before it is written again: not every picture writes."""


@dataclass
class Sessions:
    """Opened at sign-in, closed at sign-out, by idleness, or by age; where there are access tokens, also when that of
    the session is revoked, expires, or no longer allows what signing in asks for."""

    records: Records
    settings: AnnotationSettings
    clock: Callable[[], datetime] = now
    tokens: Tokens | None = None

    def open(self, reader: Reader, old_token: str = "", caller: Caller | None = None) -> str:
        """A new session's token. The browser's old session, if any, ends: no token outlives a sign-in. `caller` holds
        the access token that was shown."""
        token = secrets.token_urlsafe(32)
        moment = self.clock()
        with self.records.transaction() as session:
            self._forget(session, old_token)
            session.execute(delete(SessionRow).where(self._outdated(moment)))
            session.add(
                SessionRow(
                    token_sha256=_digest(token),
                    reader_id=reader.reader_id,
                    created=moment,
                    seen=moment,
                    sees_units=caller is None or _sees_units(caller),
                    access_sha256=caller.sha256 if caller is not None else "",
                )
            )
        return token

    def reader(self, token: str) -> Reader | None:
        """Whose session a token is; None if it is unknown, idle for too long, too old, or of an access token that is
        not good any more."""
        if not token:
            return None
        moment = self.clock()
        with self.records.reading() as session:
            row = session.get(SessionRow, _digest(token))
            if row is None or self._is_outdated(row, moment):
                return None
            reader = session.get_one(ReaderRow, row.reader_id)
            seen, sees_units, access = row.seen, row.sees_units, row.access_sha256
        if self.tokens is not None:
            caller = _holder(self.tokens, access)
            if caller is None or is_bound_to_another(caller, reader.name):
                return None
            sees_units = _sees_units(caller)
        if moment - seen > SEEN_EVERY:
            self._see(token, moment)
        return Reader(reader.reader_id, reader.name, sees_units)

    def close(self, token: str) -> None:
        """End a session."""
        with self.records.transaction() as session:
            self._forget(session, token)

    def _see(self, token: str, moment: datetime) -> None:
        with self.records.transaction() as session:
            row = session.get(SessionRow, _digest(token))
            if row is not None:
                row.seen = max(row.seen, moment)

    def _forget(self, session: Session, token: str) -> None:
        session.execute(delete(SessionRow).where(SessionRow.token_sha256 == _digest(token)))

    def _limits(self, moment: datetime) -> tuple[datetime, datetime]:
        idle, absolute = self.settings.session_idle_s, self.settings.session_absolute_s
        return moment - timedelta(seconds=idle), moment - timedelta(seconds=absolute)

    def _is_outdated(self, row: SessionRow, moment: datetime) -> bool:
        seen, created = self._limits(moment)
        return row.seen <= seen or row.created <= created

    def _outdated(self, moment: datetime) -> ColumnElement[bool]:
        seen, created = self._limits(moment)
        return or_(SessionRow.seen <= seen, SessionRow.created <= created)


def csrf_token(token: str) -> str:
    """What a form of this session must carry: derived from the session's token, which no other site can read."""
    return hmac.new(token.encode(), b"csrf", hashlib.sha256).hexdigest()


def csrf_matches(token: str, given: str) -> bool:
    """Whether a form or header carries the token of its session."""
    return hmac.compare_digest(csrf_token(token).encode(), given.encode())


def _holder(tokens: Tokens, sha256: str) -> Caller | None:
    """Who holds an access token that may still sign in."""
    try:
        caller = tokens.holder_of(sha256)
    except NotSignedIn:
        return None
    return caller if caller.allows("annotation", "write") else None


def _sees_units(caller: Caller) -> bool:
    return caller.allows("activation_extraction", "read")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
