"""An engine with the transactions that services use."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, inspect
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DataError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.orm import Session
from sqlalchemy.schema import CreateSchema

from services.common.errors import InvalidInput, Overtaken, Unavailable
from services.common.observability.logs import get_logger
from services.common.redaction import scheme_of

log = get_logger(__name__)

_GIVEN_ALREADY = ("SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_UNIQUE", "23505")
"""How SQLite and PostgreSQL name the fault of a key that another row has."""

KEPT_OPEN, MORE_AT_ONCE = 3, 5
"""Connections of a process to PostgreSQL: those that stay, and those beyond them while many call at once."""
CONNECTIONS = KEPT_OPEN + MORE_AT_ONCE
"""The server has to allow so many a process: docs/kubernetes.md counts them."""


class Records:
    """The records of one service. `tests/contract/test_records.py` is the contract of every form."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.shared = engine.dialect.name == "postgresql"
        """Whether writers of several processes are at work beside each other; a file's wait for each other."""
        # SQLite's transactions are so by themselves.
        self._one_moment = {"isolation_level": "REPEATABLE READ"} if self.shared else {}

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session that may write: committed when the block ends, rolled back when it raises.

        Overtaken if it adds a row under a key that somebody else has added a row under.

        On SQLite the write lock is taken at the start, so that a transaction never fails halfway for want of it.
        """
        with self._session(begin="IMMEDIATE") as session:
            yield session
            session.commit()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that only reads, waits for no writer, and sees the records as they are at its first query: rows
        that name each other are seen together or not at all."""
        with self._session(begin="DEFERRED", **self._one_moment) as session:
            yield session

    def close(self) -> None:
        """Let go of all connections."""
        self.engine.dispose()

    @contextmanager
    def _session(self, **options: str) -> Iterator[Session]:
        engine = self.engine.execution_options(**options)
        with Session(engine, expire_on_commit=False) as session:
            try:
                yield session
            except (OperationalError, InterfaceError) as error:
                raise Unavailable(f"the records do not answer: {error.orig}") from error
            except IntegrityError as error:
                if _fault_of(error) not in _GIVEN_ALREADY:
                    raise
                raise Overtaken(f"somebody else has just recorded the same: {error.orig}") from error
            except DataError as error:  # a NUL in a name, a number that is too large: the caller's, on every form
                raise InvalidInput(f"the records cannot hold such a value: {error.orig}") from error
            except NoConnectionFree as error:
                raise Unavailable("the records do not answer: all connections to them are in use") from error


def open_records(url: str) -> Records:
    """The records that a SQLAlchemy URL names: `sqlite:///FILE`, or `postgresql+psycopg://…?schema=NAME`, a schema that
    is made if missing. InvalidInput for any other database."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # it may quote a part of the URL, which may be one of a secret
        told = f"the records' URL, of scheme {scheme_of(url)!r}, is none: write / # ? @ and : of a password with %"
        raise InvalidInput(told) from None
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        return Records(_open_sqlite(parsed))
    if parsed.drivername == "postgresql+psycopg" and parsed.query.get("schema"):
        return Records(_open_postgres(parsed))
    raise InvalidInput(
        f"records URL {parsed.render_as_string()!r}; expected sqlite:///FILE or postgresql+psycopg://…?schema=NAME"
    )


def _fault_of(error: IntegrityError) -> str:
    return str(getattr(error.orig, "sqlite_errorname", None) or getattr(error.orig, "sqlstate", None))


def _open_sqlite(url: URL) -> Engine:
    Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": 30, "check_same_thread": False})
    _prepare_sqlite(engine)
    return engine


def _open_postgres(url: URL) -> Engine:
    """Connections that see one schema alone, checked before use, since a server restarts under a long-lived pool."""
    schema = str(url.query["schema"])
    if not schema.isidentifier():
        raise InvalidInput(f"schema {schema!r} of the records is no identifier")
    engine = create_engine(
        url.difference_update_query(["schema"]),
        pool_pre_ping=True,
        pool_size=KEPT_OPEN,
        max_overflow=MORE_AT_ONCE,
        hide_parameters=True,  # errors that quote a statement would quote what readers wrote
        connect_args={"options": f"-csearch_path={schema}", "connect_timeout": 5},
    )
    try:
        with engine.begin() as connection:
            # LayerProperties first: a service's role need not have the right to make one.
            if schema not in inspect(connection).get_schema_names():
                connection.execute(CreateSchema(schema, if_not_exists=True))
    except OperationalError as error:
        raise Unavailable(f"the records do not answer: {error.orig}") from error
    except IntegrityError:  # made by another process at the same moment
        log.debug("schema exists", schema=schema)
    return engine


def _prepare_sqlite(engine: Engine) -> None:
    """Foreign keys on, readers beside a writer (WAL), and transactions that begin when SQLAlchemy says so."""

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('begin', 'DEFERRED')}")
