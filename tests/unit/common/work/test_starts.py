"""Starts with an idempotency key: once for a key, whatever the form of the records and the number of calls."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel
from sqlalchemy import String, func, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.common.errors import InvalidInput, NotFound, Overtaken
from services.common.identity import new_id
from services.common.records import Records, idempotency_keys_table, now, open_records
from services.common.records.idempotency import LIFETIME
from services.common.work.starts import CallKey, Start, start_once
from tests.servers import fresh_schema

LIMIT_S = 30.0
KEY = CallKey("ci", "key-1")


class Base(DeclarativeBase):
    pass


KEYS = idempotency_keys_table(Base.metadata)


class Row(Base):
    __tablename__ = "rows"

    key: Mapped[str] = mapped_column(String(20), primary_key=True)


class Request(BaseModel):
    """A request with a field that has a default."""

    name: str
    size: int = 3


@pytest.fixture(params=["sqlite", "postgres"])
def records(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Records]:
    sqlite = f"sqlite:///{tmp_path / 'records.sqlite'}"
    url = sqlite if request.param == "sqlite" else fresh_schema(request.getfixturevalue("postgres"))
    records = open_records(url)
    Base.metadata.create_all(records.engine)
    yield records
    records.close()


class Tasks:
    """A workflow whose start adds a row."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.begun = 0
        self.meeting: threading.Barrier | None = None

    def start(self, request: Request, key: CallKey | None = None, task_id: str = "") -> str:
        """Start a task and return its id."""
        return start_once(self.records, task_id or new_id("task"), key, self._begin, request)

    def _begin(self, start: Start) -> None:
        self.begun += 1
        if self.meeting is not None and self.begun <= self.meeting.parties:
            self.meeting.wait(LIMIT_S)
        with self.records.transaction() as session:
            start.record(session)
            session.add(Row(key=start.task_id))

    def count(self) -> int:
        """The number of tasks."""
        with self.records.reading() as session:
            return session.scalar(select(func.count()).select_from(Row)) or 0


def test_a_repeated_start_returns_the_first_task(records: Records) -> None:
    """The same request with the same key begins nothing again. Without a key, each call starts a task."""
    tasks = Tasks(records)
    first = tasks.start(Request(name="a"), KEY)
    assert tasks.start(Request(name="a", size=3), KEY) == first
    assert (tasks.begun, tasks.count()) == (1, 1)
    assert tasks.start(Request(name="a")) != tasks.start(Request(name="a"))
    assert tasks.count() == 3


def test_a_key_of_another_request_is_refused(records: Records) -> None:
    """The error names the key and the task that it started, and nothing is started."""
    tasks = Tasks(records)
    first = tasks.start(Request(name="a"), KEY)
    with pytest.raises(InvalidInput, match=f"key 'key-1' was sent before with another request, .* {first}"):
        tasks.start(Request(name="b"), KEY)
    assert tasks.count() == 1


def test_each_caller_has_keys_of_its_own(records: Records) -> None:
    """The same key of another caller starts another task."""
    tasks = Tasks(records)
    assert tasks.start(Request(name="a"), KEY) != tasks.start(Request(name="a"), CallKey("lab", "key-1"))


def test_concurrent_duplicates_start_one_task(records: Records) -> None:
    """Two calls that both find the key unused start one task, and both return it."""
    tasks = Tasks(records)
    tasks.meeting = threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: tasks.start(Request(name="a"), KEY), range(2))
    assert (first, tasks.count(), tasks.begun) == (second, 1, 2)


def test_a_start_that_fails_leaves_no_key(records: Records) -> None:
    """After an error the same key can be sent again, with the same request or another."""

    def refuse(start: Start) -> None:
        with records.transaction() as session:
            start.record(session)
            raise NotFound("there is no run")

    with pytest.raises(NotFound):
        start_once(records, "task-1", KEY, refuse, Request(name="a"))
    assert Tasks(records).start(Request(name="b"), KEY)


def test_a_task_that_another_call_has_just_added_is_found(records: Records) -> None:
    """Two calls with different keys for the same named task: the second one begins again, and finds it."""
    calls = []

    def begin(start: Start) -> None:
        calls.append(start.task_id)
        if len(calls) == 1:
            raise Overtaken("another process has just recorded the same")

    assert start_once(records, "plan-1", KEY, begin, Request(name="a")) == "plan-1"
    assert len(calls) == 2


def test_keys_are_removed_after_their_lifetime(records: Records) -> None:
    """A key of seven days ago is removed by the next start with a key; younger ones stay."""
    tasks = Tasks(records)
    tasks.start(Request(name="a"), KEY)
    tasks.start(Request(name="a"), CallKey("ci", "key-2"))
    with records.transaction() as session:
        session.execute(update(KEYS).where(KEYS.c.key == "key-1").values(created=now() - LIFETIME - timedelta(hours=1)))
    tasks.start(Request(name="a"), CallKey("ci", "key-3"))
    with records.reading() as session:
        assert sorted(session.scalars(select(KEYS.c.key))) == ["key-2", "key-3"]


@pytest.mark.parametrize("sent", ["", '""', "two words", "ä", "x" * 256])
def test_an_invalid_key_is_refused(sent: str) -> None:
    """An empty key, one with spaces or other characters, and one that is too long."""
    with pytest.raises(InvalidInput, match="an idempotency key has 1 to 255 printable ASCII characters"):
        CallKey.of("ci", sent)


def test_a_key_may_be_in_quotes() -> None:
    """The IETF draft writes the key as a quoted string; many callers leave the quotes out."""
    assert CallKey.of("ci", '"key-1"') == CallKey.of("ci", "key-1") == KEY
    assert CallKey.of("ci", None) is None
