"""Fixtures: the annotation service with an open study."""

from pathlib import Path

import pytest

from services.common.records import Records, open_records
from tests.fakes import ports
from tests.fakes.annotation import Annotation
from tests.servers import fresh_schema


@pytest.fixture
def annotation(tmp_path: Path) -> Annotation:
    return Annotation(tmp_path)


@pytest.fixture(params=["sqlite", "postgres"])
def annotation_everywhere(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Annotation:
    """The service with each kind of records, for tests that depend on their locks."""
    if request.param == "postgres":
        url = fresh_schema(request.getfixturevalue("postgres"))

        def open_postgres(_: str) -> Records:
            records = open_records(url)
            request.addfinalizer(records.close)
            return records

        monkeypatch.setattr(ports, "open_records", open_postgres)
    return Annotation(tmp_path)
