"""The version of a service's tables: migrated by Alembic, or compared with the version that this code needs."""

from pathlib import Path
from typing import NamedTuple

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, select

from services.common.errors import Conflict, InvalidInput, Unavailable
from services.common.observability.logs import get_logger
from services.common.records.database import Records
from services.common.records.postgres import without_limits

log = get_logger(__name__)

NONE = "none"
"""The version of a database without tables."""


class Migration(NamedTuple):
    """The versions before and after."""

    before: str
    after: str


def migrate(records: Records, versions: Path) -> Migration:
    """Migrate the tables of one service to their newest version, all or nothing. Harmless if they have it already.

    Concurrent migrations wait for each other. Conflict if the tables are newer than this code.
    """
    config = _config(versions)
    script = ScriptDirectory.from_config(config)
    begun = records.engine.execution_options(begin="IMMEDIATE").begin()
    with begun as connection, without_limits(connection):
        _lock(connection)
        before = _version(connection)
        if _is_newer(before, script):
            raise Conflict(
                f"{_tables(records, before)}, which is newer than version {script.get_current_head()} of this code"
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        return Migration(before, _version(connection))


def downgrade(records: Records, versions: Path, to: str) -> Migration:
    """Migrate the tables of one service back to an earlier version, all or nothing. Later columns and tables are lost.

    Conflict if the tables are newer than this code or older than `to`. InvalidInput if `to` does not exist.
    """
    config = _config(versions)
    script = ScriptDirectory.from_config(config)
    known = [revision.revision for revision in script.walk_revisions()]
    if to not in known:
        raise InvalidInput(f"there is no version {to!r} of these tables; the versions are {', '.join(sorted(known))}")
    begun = records.engine.execution_options(begin="IMMEDIATE").begin()
    with begun as connection, without_limits(connection):
        _lock(connection)
        before = _version(connection)
        if before not in known[: known.index(to) + 1]:
            raise Conflict(
                f"{_tables(records, before)}; this code can only migrate versions from {to} to {known[0]} back to {to}"
            )
        config.attributes["connection"] = connection
        command.downgrade(config, to)
        return Migration(before, _version(connection))


def ensure_migrated(records: Records, versions: Path) -> None:
    """Ensure that the tables are those that this code needs.

    A file, which only one process uses, is migrated. A shared database is not changed: if it is older than this code,
    Unavailable names the command to run. A newer one is accepted, as during the update of a cluster: each migration
    leaves the tables usable for the version before it.
    """
    script = ScriptDirectory.from_config(_config(versions))
    with records.engine.connect() as connection:
        found = _version(connection)
    needed = script.get_current_head()
    if found == needed:
        return
    if _is_newer(found, script):
        log.warning("tables are newer than this code", found=found, known=needed)
        return
    if records.engine.dialect.name == "sqlite":
        migrate(records, versions)
        return
    raise Unavailable(f"{_tables(records, found)}; this code needs {needed}: run `primitives migrate`")


def _tables(records: Records, version: str) -> str:
    return f"the tables in {records.engine.url.render_as_string()} are of version {version}"


def _config(versions: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("version_locations", str(versions))
    config.set_main_option("path_separator", "newline")
    return config


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        schema = connection.scalar(select(func.current_schema()))
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(f"primitives migrate {schema}"))))


def _is_newer(version: str, script: ScriptDirectory) -> bool:
    """Return whether a version is unknown to this code, which is then older."""
    return version != NONE and version not in {revision.revision for revision in script.walk_revisions()}


def _version(connection: Connection) -> str:
    return MigrationContext.configure(connection).get_current_revision() or NONE
