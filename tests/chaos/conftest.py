"""The servers of these tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.servers import start_postgres, start_rabbitmq, start_s3
from services.cli.migrations import migrations_of
from services.common.records import migrate, open_records
from tests.chaos.proxy import FaultyStore
from tests.chaos.world import World
from tests.servers import accessible_folder


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """New servers, without workers."""
    with accessible_folder() as postgres:
        store = start_s3(tmp_path / "s3")
        host, port = store.url.split("@")[1].split("?")[0].split(":")
        broker, database = start_rabbitmq(tmp_path / "rabbitmq"), start_postgres(postgres / "data")
        records = open_records(f"{database.url}?schema=activation_extraction")
        migrate(records, migrations_of("activation_extraction"))
        records.close()
        created = World(tmp_path, postgres / "data", broker, store, database, FaultyStore(host, int(port)))
        yield created
        created.close()
