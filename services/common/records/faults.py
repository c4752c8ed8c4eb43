"""What the errors of a database mean to the caller."""

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, OperationalError

from services.common.errors import InvalidInput, Overtaken, PrimitivesError, Unavailable

READ_ONLY = "25006"
"""A write to a server that only reads: after a failover, the connection leads to a standby."""

_DUPLICATE_KEY = ("SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_UNIQUE", "23505")
"""The codes of SQLite and PostgreSQL for a key that another row already has."""

_PASSING_CLASSES = ("08", "40", "53", "55", "57", "58")
"""Classes of PostgreSQL's SQLSTATE: connections, rollbacks, resources, locks, a stop or a limit, the server's disk."""
_PASSING = (READ_ONLY, "25P03", "25P04")
"""Codes of other classes: a standby, and transactions that lasted too long."""


def code_of(error: DBAPIError) -> str:
    """Return SQLSTATE or the name of SQLite's code; empty if there is neither."""
    return str(getattr(error.orig, "sqlite_errorname", None) or getattr(error.orig, "sqlstate", None) or "")


def domain_error(error: DBAPIError) -> PrimitivesError | None:
    """Return the domain error of a database error; None for a defect of ours."""
    code = code_of(error)
    if isinstance(error, IntegrityError) and code in _DUPLICATE_KEY:
        return Overtaken(f"another process has just recorded the same: {error.orig}")
    if isinstance(error, DataError):  # a NUL in a name, a number that is too large: the caller's fault on every form
        return InvalidInput(f"the records cannot hold such a value: {error.orig}")
    lost = isinstance(error, OperationalError | InterfaceError)
    if lost or code in _PASSING or code.startswith(_PASSING_CLASSES):
        return Unavailable(f"the records do not answer: {error.orig}")
    return None
