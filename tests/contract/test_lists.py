"""The lists of all services over every form of the records: each page is read from an index, not sorted."""

import importlib
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from services.annotation import repository
from services.cli.migrations import SERVICES, migrations_of
from services.common.paging import Window
from services.common.records import Records, migrate, newest_page

ROWS = {
    "training": ("DatasetRow", "ImportRow", "RunRow", "EvaluationRow", "ComparisonRow"),
    "activation_extraction": ("ExtractionRow", "AnalysisRow"),
    "patch_rendering": ("RenderingRow",),
    "annotation": ("StudyRow",),
}
"""By service, the rows that are listed newest first."""
FURTHER = ("services.training.evaluation.tables", "services.training.imports.tables")
LISTED = [(service, row) for service, rows in ROWS.items() for row in rows]


def row_class(service: str, name: str) -> Any:
    """The class of a service's rows."""
    modules = [
        f"services.{service}.tables",
        *(FURTHER if service == "training" else ()),
    ]
    return next(found for module in modules if (found := getattr(importlib.import_module(module), name, None)))


class Plans:
    """The plans of the queries that run in the block, in the words of the database. PostgreSQL sorts or reads a whole
    table only where it must."""

    def __init__(self, records: Records) -> None:
        self._engine = records.engine
        self._queries: list[tuple[str, Any]] = []

    def __enter__(self) -> "Plans":
        event.listen(self._engine, "before_cursor_execute", self._record)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._record)

    def _record(self, _connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.lstrip().startswith("SELECT"):
            self._queries.append((statement, parameters))

    def read(self) -> list[str]:
        """The plan of each query."""
        is_postgres = self._engine.dialect.name == "postgresql"
        with self._engine.connect() as connection:
            if is_postgres:
                for path in ("seqscan", "sort"):
                    connection.execute(sa.text(f"SET LOCAL enable_{path} = off"))
            explain = "EXPLAIN (COSTS OFF) " if is_postgres else "EXPLAIN QUERY PLAN "
            plans = [connection.exec_driver_sql(explain + query, values).all() for query, values in self._queries]
        return ["\n".join(str(row[-1]) for row in plan) for plan in plans]


def assert_indexed(plan: str, index: str) -> None:
    """The plan reads an index and sorts nothing."""
    assert index in plan, plan
    assert "Sort" not in plan, plan
    assert "TEMP B-TREE" not in plan, plan


def test_all_services_have_lists() -> None:
    """A new service adds its lists to these tests."""
    assert set(ROWS) == set(SERVICES)


@pytest.mark.parametrize(("service", "name"), LISTED)
def test_a_page_of_the_newest_is_read_from_an_index(service: str, name: str, records: Records) -> None:
    """The index has the order of the list, so that the database reads no more rows than those up to the page's end."""
    migrate(records, migrations_of(service))
    row = row_class(service, name)
    conditions = [row.extraction_id == "extraction-1"] if name == "AnalysisRow" else []
    with Plans(records) as plans, records.reading() as session:
        newest_page(session, row, Window(offset=3), *conditions)
    assert_indexed(plans.read()[-1], f"ix_{row.__tablename__}_newest")


def test_the_answers_of_a_reader_are_read_from_indexes(records: Records) -> None:
    """The pages of a reader's own answers, the units that the reader answered, and the latest ones need no sorting."""
    migrate(records, migrations_of("annotation"))
    with Plans(records) as plans, records.reading() as session:
        repository.responses_of(session, "reader-1", 50, 50)
        repository.answered_by(session, "reader-1", "reader-1", "", (1000, 1000))
        repository.latest_places(session, "reader-1", 50)
    own, _, answered, latest = plans.read()
    assert_indexed(own, "ix_responses_by_reader")
    assert_indexed(answered, "ix_responses_by_reader")
    assert_indexed(latest, "ix_responses_latest")


def test_units_are_read_by_their_keys(records: Records) -> None:
    """The units and answers of several layers are read with the primary key, never from the whole table."""
    migrate(records, migrations_of("annotation"))
    keys = [("study-1", "layer3", 4), ("study-1", "layer4", 4), ("study-2", "layer3", 5)]
    with Plans(records) as plans, records.reading() as session:
        repository.units_by_key(session, keys)
        repository.answered_keys(session, keys, "reader-1")
        repository.answered_by_layer(session, "reader-1", ["study-1", "study-2"])
    for plan in plans.read():
        assert "SCAN units" not in plan and "SCAN responses" not in plan and "Seq Scan" not in plan, plan
