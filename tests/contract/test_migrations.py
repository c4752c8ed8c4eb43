"""The tables of every service, over every form of the records: migrated, checked, and equal to those of the code."""

import importlib
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from typer.testing import CliRunner

from deploy.local.servers import Server
from services.cli.main import app
from services.cli.migrations import SERVICES, migrations_of
from services.common.errors import Conflict, Unavailable
from services.common.records import Records, ensure_migrated, migrate, open_records
from tests.servers import fresh_schema


@pytest.mark.parametrize("service", SERVICES)
def test_migrated_tables_are_those_of_the_code(service: str, records: Records) -> None:
    """After all migrations the tables equal those that the code declares; migrating again is harmless."""
    first = migrate(records, migrations_of(service))
    again = migrate(records, migrations_of(service))
    assert first.before == "none" and again == (first.after, first.after)
    importlib.import_module(f"services.{service}.main")  # with all modules that declare tables
    metadata = importlib.import_module(f"services.{service}.tables").Base.metadata
    with records.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def version_folder(tmp_path: Path, *names: str) -> Path:
    """Write migrations that make one table each; return their folder."""
    folder = tmp_path / "-".join(names)
    folder.mkdir()
    for name, before in zip(names, [None, *names], strict=False):
        (folder / f"{name}.py").write_text(
            f"import sqlalchemy as sa\nfrom alembic import op\nrevision = {name!r}\ndown_revision = {before!r}\n\n\n"
            f"def upgrade():\n    op.create_table('t{name}', sa.Column('id', sa.Integer, primary_key=True))\n"
        )
    return folder


def test_a_shared_database_is_checked_and_not_changed(postgres: Server, tmp_path: Path) -> None:
    """A service refuses tables that are older than its code, and names the command to run; it accepts newer ones."""
    old, new = version_folder(tmp_path, "0001"), version_folder(tmp_path, "0001", "0002")
    records = open_records(fresh_schema(postgres))
    with pytest.raises(Unavailable, match="version none; this code needs 0001: run `primitives migrate`"):
        ensure_migrated(records, old)
    migrate(records, old)
    ensure_migrated(records, old)
    with pytest.raises(Unavailable, match="version 0001; this code needs 0002"):
        ensure_migrated(records, new)
    migrate(records, new)
    ensure_migrated(records, new)
    ensure_migrated(records, old)
    records.close()


def test_older_code_accepts_newer_tables(records: Records, tmp_path: Path) -> None:
    """An older version of a service starts over the tables of a newer one. It refuses to migrate them, and changes
    nothing."""
    old, new = version_folder(tmp_path, "0001"), version_folder(tmp_path, "0001", "0002")
    migrate(records, new)
    ensure_migrated(records, old)
    with pytest.raises(Conflict, match="version 0002, which is newer than version 0001 of this code"):
        migrate(records, old)
    assert migrate(records, new) == ("0002", "0002")


def test_concurrent_migrations_run_once(postgres: Server, tmp_path: Path) -> None:
    """Replicas that start together migrate once, and none fails."""
    url, versions = fresh_schema(postgres), version_folder(tmp_path, "0001", "0002", "0003")
    done, failed = [], []

    def run() -> None:
        records = open_records(url)
        try:
            done.append(migrate(records, versions))
        except Exception as error:  # reported by the assertion below
            failed.append(error)
        finally:
            records.close()

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert sorted(one.before for one in done) == ["0003"] * 5 + ["none"]


def test_the_command_migrates_all_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`primitives migrate` migrates the files of the four services and prints the versions before and after."""
    monkeypatch.setenv("PRIMITIVES_HOME", str(tmp_path))
    printed = CliRunner().invoke(app, ["migrate"]).output.splitlines()
    assert [line.split("\t")[0] for line in printed] == list(SERVICES)
    assert all(line.split("\t")[1].startswith("none -> 0") for line in printed)
    assert sorted(path.stem for path in (tmp_path / "records").glob("*.sqlite")) == sorted(SERVICES)
    again = CliRunner().invoke(app, ["migrate", "--service", "training"]).output.split("\t")[1].split(" -> ")
    assert again[0] == again[1].strip()
