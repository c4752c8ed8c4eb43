"""The database engine of a service, and its transactions."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, inspect
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.orm import Session
from sqlalchemy.schema import CreateSchema

from services.common.errors import InvalidInput, Unavailable
from services.common.observability.logs import get_logger
from services.common.records.faults import READ_ONLY, code_of, domain_error
from services.common.records.postgres import create_postgres_engine
from services.common.redaction import scheme_of

log = get_logger(__name__)


class Records:
    """The records of one service. `tests/contract/test_records.py` is the contract of every form."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.shared = engine.dialect.name == "postgresql"
        """Whether several processes write concurrently. Writers of a file wait for each other."""
        # SQLite's transactions see one snapshot in any case.
        self._snapshot = {"isolation_level": "REPEATABLE READ"} if self.shared else {}

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Open a session that may write: committed when the block ends, rolled back if it raises.

        Overtaken if the block adds a row with a key that another process has used meanwhile. On SQLite the write lock
        is taken at the start, so a transaction never fails halfway because it cannot get the lock.
        """
        with self._session(begin="IMMEDIATE") as session:
            yield session
            session.commit()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session that only reads. It does not wait for writers.

        It sees the records as they are at its first query, so it sees rows that refer to each other together or not at
        all.
        """
        with self._session(begin="DEFERRED", **self._snapshot) as session:
            yield session

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def _session(self, **options: str) -> Iterator[Session]:
        engine = self.engine.execution_options(**options)
        with Session(engine, expire_on_commit=False) as session:
            try:
                yield session
            except DBAPIError as error:
                if code_of(error) == READ_ONLY:
                    self.engine.dispose()  # new connections find the server that writes now
                raised = domain_error(error)
                if raised is None:
                    raise
                raise raised from error
            except NoConnectionFree as error:
                raise Unavailable("the records do not answer: all connections to them are in use") from error


def before_commit(session: Session, act: Callable[[], None]) -> None:
    """Call `act` when the session commits, before the commit itself. If it raises, nothing is committed."""
    event.listen(session, "before_commit", lambda _: act(), once=True)


def after_commit(session: Session, act: Callable[[], None]) -> None:
    """Call `act` once the session is committed; never if it is rolled back."""
    event.listen(session, "after_commit", lambda _: act(), once=True)


def open_records(url: str) -> Records:
    """Open the records of a SQLAlchemy URL: `sqlite:///FILE`, or `postgresql+psycopg://…?schema=NAME`.

    A missing file or schema is made. InvalidInput for any other database.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # its message may quote a part of the URL, which may be part of a secret
        raise InvalidInput(
            f"the records' URL with scheme {scheme_of(url)!r} is not valid: write / # ? @ and : of a password with %"
        ) from None
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        return Records(_open_sqlite(parsed))
    if parsed.drivername == "postgresql+psycopg" and parsed.query.get("schema"):
        return Records(_open_postgres(parsed))
    raise InvalidInput(
        f"records URL {parsed.render_as_string()!r}; expected sqlite:///FILE or postgresql+psycopg://…?schema=NAME"
    )


def _open_sqlite(url: URL) -> Engine:
    Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": 30, "check_same_thread": False})
    _prepare_sqlite(engine)
    return engine


def _open_postgres(url: URL) -> Engine:
    """Open the server. Make the schema if it is missing."""
    schema = str(url.query["schema"])
    if not schema.isidentifier():
        raise InvalidInput(f"schema {schema!r} of the records is not an identifier")
    engine = create_postgres_engine(url.difference_update_query(["schema"]), schema)
    try:
        with engine.begin() as connection:
            # Looked up first, since a service's role need not have the right to make a schema.
            if schema not in inspect(connection).get_schema_names():
                connection.execute(CreateSchema(schema, if_not_exists=True))
    except OperationalError as error:
        raise Unavailable(f"the records do not answer: {error.orig}") from error
    except IntegrityError:  # made by another process at the same moment
        log.debug("schema exists", schema=schema)
    return engine


def _prepare_sqlite(engine: Engine) -> None:
    """Turn on foreign keys and WAL (readers next to a writer), and begin transactions when SQLAlchemy does."""

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('begin', 'DEFERRED')}")
