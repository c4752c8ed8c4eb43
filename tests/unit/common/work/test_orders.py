"""The state of a task's record as the order of its job, and the time that a task records without its pauses."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.common.errors import Unavailable
from services.common.progress import Progress
from services.common.records import ProgressWriter, Records, WorkColumns, open_records
from services.common.records import tasks as columns
from services.common.work import orders as module
from services.common.work.jobs import Order
from services.common.work.orders import RecordedOrders

START = datetime(2026, 11, 24, tzinfo=UTC)


class Base(DeclarativeBase):
    pass


class Row(WorkColumns, Base):
    __tablename__ = "rows"

    key: Mapped[str] = mapped_column(String(20), primary_key=True)


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    records = open_records(f"sqlite:///{tmp_path / 'records.sqlite'}")
    Base.metadata.create_all(records.engine)
    with records.transaction() as session:
        session.add(Row(key="a", state="queued"))
    yield records
    records.close()


def set_state(records: Records, state: str) -> None:
    with records.transaction() as session:
        session.get_one(Row, "a").state = state


@pytest.mark.parametrize(
    ("state", "order"),
    [
        ("queued", Order.WORK),
        ("running", Order.WORK),
        ("paused", Order.PAUSE),
        ("cancelled", Order.CANCEL),
        ("failed", Order.CANCEL),
        ("completed", Order.CANCEL),
    ],
)
def test_the_state_is_the_order(records: Records, state: str, order: Order) -> None:
    """A job works while its task is queued or running, keeps what it has when it is paused, and leaves when it has
    ended."""
    set_state(records, state)
    assert RecordedOrders(records, Row, "a")() is order
    assert RecordedOrders(records, Row, "b")() is Order.CANCEL, "the record is gone"


def test_the_record_is_looked_at_once_a_second(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is called, it queries once an interval."""
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    orders = RecordedOrders(records, Row, "a")
    assert orders() is Order.WORK
    set_state(records, "paused")
    clock[0] += module.CHECK_INTERVAL_S / 2
    assert orders() is Order.WORK
    clock[0] += module.CHECK_INTERVAL_S / 2
    assert orders() is Order.PAUSE


def test_records_that_do_not_answer_end_no_job(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    """What they said last stands until they answer again."""
    monkeypatch.setattr(module, "CHECK_INTERVAL_S", 0.0)
    orders = RecordedOrders(records, Row, "a")

    def away() -> Any:
        raise Unavailable("the records do not answer")

    with monkeypatch.context() as patch:
        patch.setattr(records, "reading", away)
        assert orders() is Order.WORK
    set_state(records, "cancelled")
    assert orders() is Order.CANCEL
    with monkeypatch.context() as patch:
        patch.setattr(records, "reading", away)
        assert orders() is Order.CANCEL


def test_pauses_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its time only that counts in which it was not paused, also while it is paused and when it ends so."""
    passed = [0.0]
    monkeypatch.setattr(columns, "now", lambda: START + timedelta(seconds=passed[0]))
    task = Row(key="a", state="queued", paused_s=0.0)

    def after(seconds: float, step: Any, *arguments: str) -> float:
        passed[0] += seconds
        step(*arguments)
        return task.seconds

    assert after(5, task.pause) == 0.0
    assert after(5, task.resume) == 0.0, "it had not begun"
    assert after(1, task.begin) == 0.0
    assert after(10, task.pause) == 10.0
    assert after(100, lambda: None) == 10.0
    assert after(100, task.resume) == 10.0
    assert after(1, task.begin) == 11.0
    assert after(4, task.pause) == 15.0
    assert after(50, task.end, "cancelled", "by a caller") == 15.0
    assert after(50, lambda: None) == 15.0


@pytest.mark.parametrize(("total", "shown"), [(None, 100), (97, 97)])
def test_a_completed_task_has_done_all(total: float | None, shown: float) -> None:
    """The newest progress of a job may be lost, and what was expected may be more than there was."""
    task = Row(key="a", state="running", progress=Progress(phase="rendering", done=93, total=100, unit="pictures"))
    task.complete(total)
    assert task.state == "completed"
    assert task.progress == Progress(phase="rendering", done=shown, total=shown, unit="pictures")
    task.progress = Progress(done=1, total=2)
    task.complete()
    assert task.progress.done == 1, "an ended one keeps its end"


def test_progress_shows_that_it_runs(records: Records) -> None:
    """A task that was paused and resumed before its job noticed still runs. A paused or ended one stays as it is."""
    for state, shown in (("queued", "running"), ("paused", "paused"), ("cancelled", "cancelled")):
        set_state(records, state)
        ProgressWriter(records, Row, "a")(Progress(done=1))
        with records.reading() as session:
            assert session.get_one(Row, "a").state == shown


def test_the_time_until_a_replay_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that failed and is queued again has run for as long as before its failure."""
    passed = [0.0]
    monkeypatch.setattr(columns, "now", lambda: START + timedelta(seconds=passed[0]))
    task = Row(key="a", state="queued", paused_s=0.0, requeues=[])
    task.begin()
    passed[0] += 10
    task.end("failed", "broken")
    passed[0] += 100
    task.requeue()
    task.begin()
    passed[0] += 5
    task.end("completed")
    assert (task.seconds, task.error) == (15.0, "")
    assert [one.reason for one in task.requeues] == ["broken"]
