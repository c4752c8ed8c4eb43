"""The version of a service's tables: brought to the newest by Alembic, or checked against what this code needs."""

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

log = get_logger(__name__)

NONE = "none"
"""The version of a database without tables."""


class Migration(NamedTuple):
    """The versions before and after."""

    before: str
    after: str


def migrate(records: Records, versions: Path) -> Migration:
    """Bring the tables of one service to their newest version, all or nothing; harmless when they are there already.
    Of several that migrate at once the others wait for the first. Conflict if they are newer than this code."""
    config = _config(versions)
    script = ScriptDirectory.from_config(config)
    with records.engine.execution_options(begin="IMMEDIATE").begin() as connection:
        _lock(connection)
        before = _version(connection)
        if _is_newer(before, script):
            raise Conflict(
                f"the tables in {records.engine.url.render_as_string()} are of version {before}, which is newer than "
                f"this code, which knows {script.get_current_head()}"
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        return Migration(before, _version(connection))


def downgrade(records: Records, versions: Path, to: str) -> Migration:
    """Bring the tables of one service back to an earlier version, all or nothing; what only later versions have is
    lost. Conflict if they are newer than this code, or older than `to`; InvalidInput if there is no such version."""
    config = _config(versions)
    script = ScriptDirectory.from_config(config)
    known = [revision.revision for revision in script.walk_revisions()]
    if to not in known:
        raise InvalidInput(f"there is no version {to!r} of these tables; there are {', '.join(sorted(known))}")
    with records.engine.execution_options(begin="IMMEDIATE").begin() as connection:
        _lock(connection)
        before = _version(connection)
        if before not in known[: known.index(to) + 1]:
            raise Conflict(
                f"the tables in {records.engine.url.render_as_string()} are of version {before}; only one from {to} to "
                f"{known[0]} can be brought back to {to} by this code"
            )
        config.attributes["connection"] = connection
        command.downgrade(config, to)
        return Migration(before, _version(connection))


def ensure_migrated(records: Records, versions: Path) -> None:
    """Have the tables as this code needs them: a file of one process is migrated; a server that many share is not
    touched, and Unavailable says what to run if it is older. One that is newer than this code serves it too, as while
    a cluster is updated: a migration must leave what the version before it needs."""
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
    raise Unavailable(
        f"the tables in {records.engine.url.render_as_string()} are of version {found}; this code needs {needed}: "
        "run `primitives migrate`"
    )


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
    """Whether the code knows nothing of a version, as code that is older than it does not."""
    return version != NONE and version not in {revision.revision for revision in script.walk_revisions()}


def _version(connection: Connection) -> str:
    return MigrationContext.configure(connection).get_current_revision() or NONE
