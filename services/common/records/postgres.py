"""The engine for PostgreSQL: its connections see one schema, and no call on them waits for longer than a limit."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL

POOL_SIZE, MAX_OVERFLOW = 3, 5
"""Connections of a process: those that stay open, and additional ones under load."""
CONNECTIONS = POOL_SIZE + MAX_OVERFLOW
"""The connections that the server must allow for each process: docs/kubernetes.md counts them."""

STATEMENT_LIMIT_S, LOCK_LIMIT_S, IDLE_LIMIT_S = 30.0, 15.0, 60.0
"""The server ends a statement, a wait for a lock, and a transaction in which nothing happens after these times."""
CALL_LIMIT_S = 40.0
"""The client ends a call after this time. It matters if the server is frozen, so that its own limits do not hold."""
CONNECT_LIMIT_S = 5
SILENCE_LIMIT_MS = 20_000
"""A connection whose other side does not acknowledge is closed after this time, on both sides."""

_POLL_S = 0.1


class LimitedConnection(psycopg.Connection[Any]):
    """A connection that is closed if the server does not answer a call in time: OperationalError."""

    limit_s: float | None = None
    """Replaces CALL_LIMIT_S; `float("inf")` for no limit."""

    def wait(self, gen: PQGen[Any], interval: float = _POLL_S, timeout: float | None = None) -> Any:
        """Wait for the server. psycopg calls this for everything that it sends."""
        limit = CALL_LIMIT_S if self.limit_s is None else self.limit_s
        shortest = min(limit, float("inf") if timeout is None else timeout)
        try:
            return super().wait(gen, interval, None if shortest == float("inf") else shortest)
        except psycopg.errors._WaitTimeout as error:
            if shortest == timeout:
                raise  # the limit of psycopg itself, which it handles
            self.pgconn.finish()  # an answer that comes later would be taken for that of the next call
            raise psycopg.OperationalError(f"the server did not answer within {limit:g} s") from error


def create_postgres_engine(url: URL, schema: str) -> Engine:
    """Create the engine. Its connections are checked before use, since the server may have restarted."""
    settings = {
        "search_path": schema,
        "statement_timeout": round(STATEMENT_LIMIT_S * 1000),
        "lock_timeout": round(LOCK_LIMIT_S * 1000),
        "idle_in_transaction_session_timeout": round(IDLE_LIMIT_S * 1000),
        "tcp_user_timeout": SILENCE_LIMIT_MS,
    }
    engine = create_engine(
        url,
        pool_pre_ping=True,
        pool_size=POOL_SIZE,
        max_overflow=MAX_OVERFLOW,
        hide_parameters=True,  # errors that quote a statement would quote text of readers
        connect_args={
            "options": " ".join(f"-c{name}={value}" for name, value in settings.items()),
            "connect_timeout": CONNECT_LIMIT_S,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 2,
            "tcp_user_timeout": SILENCE_LIMIT_MS,
        },
    )

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, arguments: Any, options: Any) -> Any:
        return LimitedConnection.connect(*arguments, **options)

    return engine


@contextmanager
def without_limits(connection: Connection) -> Iterator[None]:
    """Lift the limits of statements, locks and calls for the current transaction, for a migration of large tables."""
    raw = connection.connection.dbapi_connection
    if not isinstance(raw, LimitedConnection):
        yield
        return
    raw.limit_s = float("inf")
    try:
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            connection.exec_driver_sql(f"SET LOCAL {name} = 0")
        yield
    finally:
        raw.limit_s = None
