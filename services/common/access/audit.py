"""The audit log: a JSON line for every security event, appended to a file, or written to the structured log. A service
may also keep its events in its records (see `Journal`).

A line has the time, the service, the event, the name of the caller's token, the reader, the address, the subject and
the outcome. It has no token, password or cookie, and no name that a person typed and no record knows.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from sqlalchemy.orm import Session

from services.common.errors import InvalidInput
from services.common.observability.logs import get_logger
from services.common.records.database import after_commit
from services.common.redaction import redacted

log = get_logger(__name__)

Event = Literal[
    "sign_in", "sign_out", "refusal", "study_opened", "study_changed", "label_revealed", "token_made", "token_changed",
    "token_revoked", "export", "protocol_opened", "protocol_closed", "label_settled", "account_invited",
    "invitation_accepted", "account_changed", "password_changed", "sessions_ended", "sign_in_delayed",
    "responses_imported", "game_opened", "game_closed",
]  # fmt: skip
LONGEST_FIELD = 300
"""Characters of a field: part of a line comes from callers."""


class Actor(NamedTuple):
    """Who acts: the name of a token, the reader and the network address, as far as they are known."""

    caller: str = ""
    reader: str = ""
    address: str = ""


UNKNOWN = Actor()
_ACTOR: ContextVar[Actor] = ContextVar("actor", default=UNKNOWN)


@contextmanager
def acting_as(actor: Actor) -> Iterator[None]:
    """Record the events of a block as those of an actor."""
    before = _ACTOR.get()
    _ACTOR.set(actor)
    try:
        yield
    finally:
        _ACTOR.set(before)


def name_caller(caller: str, reader: str = "") -> None:
    """Add the name of the token, and the reader that it is bound to, to the actor of the current call."""
    _ACTOR.set(_ACTOR.get()._replace(caller=caller, reader=reader))


def current_caller() -> str:
    """The name of the token of the current call; empty if the service needs no tokens."""
    return _ACTOR.get().caller


Line = dict[str, str]
"""The fields of an event."""


class Journal(Protocol):
    """Keeps the events of a service in its records too."""

    def append(self, line: Line, session: Session | None) -> None:
        """Append an event in the transaction of a session, or in one of its own."""


@dataclass(frozen=True)
class Audit:
    """The audit log of a service. Without a file, events are lines of the structured log, with `logger` audit."""

    service: str
    file: Path | None = None
    journal: Journal | None = None

    def check(self) -> None:
        """Raise InvalidInput if the file cannot be appended to."""
        if self.file is not None:
            try:
                os.close(self._open(self.file))
            except OSError as error:
                raise InvalidInput(f"the audit file {self.file} cannot be appended to: {error.strerror}") from error

    def record(
        self,
        event: Event,
        subject: str = "",
        *,
        outcome: str = "done",
        actor: Actor = UNKNOWN,
        session: Session | None = None,
    ) -> None:
        """Append an event. Fields of `actor` that are empty are those of the current call.

        An event of a change in the records has the session of its transaction: it is recorded if that is committed.
        Call `record` for others outside of transactions, because the journal opens one.
        """
        line = self._line(event, subject, outcome, actor)
        if self.journal is not None:
            self.journal.append(line, session)
        if session is None:
            self._write(line)
        else:
            after_commit(session, lambda: self._write(line))

    def _line(self, event: Event, subject: str, outcome: str, actor: Actor) -> Line:
        current = _ACTOR.get()
        return {
            "time": datetime.now(UTC).isoformat(),
            "service": self.service,
            "event": event,
            **{name: _short(value or getattr(current, name)) for name, value in actor._asdict().items()},
            "subject": _short(subject),
            "outcome": _short(outcome),
        }

    def _write(self, line: Line) -> None:
        """Write an event to the file or to the log.

        If the file cannot be written, the event is an error in the structured log and the call continues: a full disk
        of the audit log must not stop readers.
        """
        if self.file is None:
            log.info("security event", logger="audit", **_in_log(line))
            return
        try:
            self._append(self.file, line)
        except OSError as error:
            log.error("security event not written", logger="audit", reason=str(error), **_in_log(line))

    def _append(self, file: Path, line: Line) -> None:
        """Write a line with one call, so that lines of several processes do not mix. The file is opened for each line:
        it may be rotated."""
        descriptor = self._open(file)
        try:
            written = json.dumps(line).encode() + b"\n"  # ASCII, so that no character is taken for the end of a line
            if os.write(descriptor, written) < len(written):
                os.write(descriptor, b"\n")  # the next event begins a line of its own
                raise OSError("only a part of the line was written")
        finally:
            os.close(descriptor)

    @staticmethod
    def _open(file: Path) -> int:
        return os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


_LOG_NAMES = {"event": "security_event", "time": "event_time"}
"""The structured log uses the names `event` and `timestamp` itself."""


def _in_log(line: Line) -> dict[str, str]:
    """The fields of a line under the names that they have in the structured log."""
    return {_LOG_NAMES.get(name, name): value for name, value in line.items()}


def _short(text: str) -> str:
    return redacted(text)[:LONGEST_FIELD]
