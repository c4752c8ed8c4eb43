"""The life of a task, with and without parts, over the fakes."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from google.protobuf import wrappers_pb2
from primitives.activation_extraction.v1 import events_pb2
from primitives.training.v1 import events_pb2 as training_events
from sqlalchemy import ForeignKey, Integer, String
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from services.common.blobs import ObjectRef
from services.common.errors import Busy, Conflict, JobStopped, LeaseLost, NotFound
from services.common.observability.metrics import PATCHES_EXTRACTED
from services.common.progress import Progress
from services.common.records import Reference, WorkColumns, idempotency_keys_table, leases_table, now, outbox_table
from services.common.work.fan_out import FanOutTasks
from services.common.work.jobs import JobFunction, JobReport
from services.common.work.replays import EVENT_SENT
from services.common.work.tasks import Assignment, Step, Tasks, Verb
from tests.fakes.ports import FakeRunner, World

RESULT = ObjectRef(bucket="b", key="k", sha256="0" * 64, size=1)
WORK: JobFunction[str, ObjectRef, int] = JobFunction("services.example.job:work")
MERGE: JobFunction[list[int], ObjectRef] = JobFunction("services.example.job:merge")


class Base(DeclarativeBase):
    pass


outbox_table(Base.metadata)
leases_table(Base.metadata)
idempotency_keys_table(Base.metadata)


class SimpleRow(WorkColumns, Base):
    """A task with one command."""

    __tablename__ = "simple"

    evaluation_id: Mapped[str] = mapped_column(String(20), primary_key=True)
    result: Mapped[ObjectRef | None] = mapped_column(Reference)
    saved: Mapped[int] = mapped_column(Integer, default=0)


class CutRow(WorkColumns, Base):
    """A task that is cut into parts."""

    __tablename__ = "cut"

    extraction_id: Mapped[str] = mapped_column(String(20), primary_key=True)
    parts: Mapped[int] = mapped_column(Integer)
    result: Mapped[ObjectRef | None] = mapped_column(Reference)


class PartRow(Base):
    """A finished part and the object that it refers to."""

    __tablename__ = "parts"

    extraction_id: Mapped[str] = mapped_column(ForeignKey("cut.extraction_id"), primary_key=True)
    part: Mapped[int] = mapped_column(Integer, primary_key=True)
    state: Mapped[ObjectRef] = mapped_column(Reference)


class Simple(Tasks[SimpleRow]):
    """Tasks of one command, EvaluateCheckpoint."""

    noun: ClassVar[str] = "evaluation"
    table: ClassVar[type[SimpleRow]] = SimpleRow

    def enqueue(self, session: Session, task: SimpleRow) -> None:
        command = training_events.EvaluateCheckpoint(evaluation_id=task.evaluation_id)
        self.ports.outbox.send(session, "jobs", command)

    def publish_completed(self, session: Session, task: SimpleRow) -> None:
        self.ports.outbox.publish(session, training_events.RunCompleted(run_id=task.evaluation_id))

    def publish_failed(self, session: Session, task: SimpleRow) -> None:
        self.ports.outbox.publish(session, training_events.RunFailed(run_id=task.evaluation_id, error=task.error))

    def work(self, command: training_events.EvaluateCheckpoint) -> None:
        """Perform the command."""
        step = Step(WORK, self._prepare, self._record, counter=PATCHES_EXTRACTED, save=self._save)
        self.perform(command.evaluation_id, step)

    def _prepare(self, _session: Session, task: SimpleRow) -> Assignment[str]:
        return Assignment(task.evaluation_id, lambda report: report.progress(before=10))

    def _record(self, session: Session, task: SimpleRow, result: ObjectRef) -> None:
        task.result = result
        if task.active:
            self.complete(session, task)

    def _save(self, _session: Session, task: SimpleRow, milestone: int) -> None:
        task.saved = milestone


class Cut(FanOutTasks[CutRow, events_pb2.ExtractShard]):
    """Tasks that fan out into ExtractShard and are merged by MergeExtraction."""

    noun: ClassVar[str] = "extraction"
    table: ClassVar[type[CutRow]] = CutRow
    part_table: ClassVar[type[PartRow]] = PartRow
    queue: ClassVar[str] = "jobs"

    def part_commands(self, _session: Session, task: CutRow) -> Sequence[events_pb2.ExtractShard]:
        return [events_pb2.ExtractShard(extraction_id=task.extraction_id, shard=part) for part in range(task.parts)]

    def part_key(self, command: events_pb2.ExtractShard) -> tuple[str | int, ...]:
        return command.extraction_id, command.shard

    def part_objects(self, part: PartRow) -> Sequence[ObjectRef]:
        return [part.state]

    def parts_expected(self, task: CutRow) -> int:
        return task.parts

    def merge(self, session: Session, task: CutRow) -> None:
        command = events_pb2.MergeExtraction(extraction_id=task.extraction_id)
        self.ports.outbox.send(session, "merges", command)

    def work(self, command: events_pb2.ExtractShard) -> None:
        """Perform a part."""

        def record(session: Session, task: CutRow, _result: ObjectRef) -> None:
            state = self.ports.blobs.put("parts", f"{task.extraction_id}/{command.shard}", b"state")
            session.add(PartRow(extraction_id=task.extraction_id, part=command.shard, state=state))

        self.perform_part(command, Step(WORK, lambda _, task: Assignment(task.extraction_id), record))

    def merge_all(self, command: events_pb2.MergeExtraction) -> None:
        """Perform the merge."""

        def record(session: Session, task: CutRow, result: ObjectRef) -> None:
            task.result = result
            self.complete(session, task)

        step = Step(MERGE, lambda _session, task: Assignment(list(range(task.parts))), record)
        self.perform_merge(command.extraction_id, step)


class Reporting(FakeRunner):
    """A runner whose jobs report once before they return."""

    report = JobReport(phase="working", done=3, total=20, unit="patches")

    def run(self, job: Any, spec: Any, on_report: Any = lambda _: None, *others: Any) -> Any:
        on_report(self.report)
        return super().run(job, spec, on_report, *others)


class Example(World):
    """Both kinds of task over fakes, with one simple task `one` and a task `cut` of three parts."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Base.metadata)
        self.runner = Reporting()
        self.runner.answers = {"work": lambda _: RESULT, "merge": lambda _: RESULT}
        self.simple = Simple(self.ports, self.runner)  # type: ignore[arg-type]
        self.cut = Cut(self.ports, self.runner)  # type: ignore[arg-type]
        with self.ports.records.transaction() as session:
            one, cut = SimpleRow(evaluation_id="one", plan_id="plan"), CutRow(extraction_id="cut", parts=3)
            session.add_all([one, cut])
            session.flush()
            self.simple.enqueue(session, one)
            self.cut.enqueue(session, cut)
        self.command, *self.parts = self.sent()

    def row(self, key: str = "one") -> Any:
        """The record of a task as it is now."""
        with self.ports.records.reading() as session:
            return session.get_one(SimpleRow if key == "one" else CutRow, key)

    def names(self) -> list[str]:
        """The types of the messages sent since the last call."""
        return [type(content).__name__ for content in self.sent()]


@pytest.fixture
def example(tmp_path: Path) -> Example:
    return Example(tmp_path)


def test_a_command_is_performed_once(example: Example) -> None:
    """The result is recorded, the task completed and published; the same command again does nothing."""
    example.simple.work(example.command)
    row = example.row()
    assert (row.state, row.result, row.progress) == (
        "completed",
        RESULT,
        Progress(phase="working", done=20, total=20, unit="patches"),
    )
    assert example.names() == ["RunCompleted"]
    example.simple.work(example.command)
    assert (len(example.runner.calls), example.names()) == (1, [])


def test_a_step_is_performed_by_one_process_at_a_time(example: Example) -> None:
    """While the lease is held, another delivery is Busy."""
    with example.ports.leases.hold("one"), pytest.raises(Busy):
        example.simple.work(example.command)
    assert example.runner.calls == []


def test_a_result_without_its_lease_is_not_recorded(example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    """LeaseLost when another process has taken the lease over: the record stays as it was."""
    leases = example.ports.leases
    monkeypatch.setattr(leases, "_ttl", timedelta(seconds=-1))

    def taken_over(_: str) -> ObjectRef:
        with leases.hold("one"):
            return RESULT

    example.runner.answers["work"] = taken_over
    with pytest.raises(LeaseLost):
        example.simple.work(example.command)
    assert (example.row().state, example.row().result, example.names()) == ("running", None, [])


def test_milestones_are_recorded_before_the_result(example: Example) -> None:
    """Each milestone is saved in a transaction of its own, also if the job fails later."""
    example.runner.answers["work"] = lambda _: ([1, 2], RESULT)
    example.simple.work(example.command)
    assert (example.row().saved, example.row().state) == (2, "completed")


@pytest.mark.parametrize(("verb", "state"), [("pause", "paused"), ("cancel", "cancelled")])
def test_a_job_that_is_stopped_records_nothing(example: Example, verb: Verb, state: str) -> None:
    """A pause or a cancel while the job works: the command is done, without result or event of completion."""

    def stopped(_: str) -> ObjectRef:
        example.simple.act(verb, "one")
        raise JobStopped("noticed")

    example.runner.answers["work"] = stopped
    example.simple.work(example.command)
    assert (example.row().state, example.row().result) == (state, None)
    assert example.names() == ([] if verb == "pause" else ["RunFailed"])


def test_a_result_that_comes_after_a_cancel_is_not_recorded(example: Example) -> None:
    """A task that has ended keeps its end."""

    def late(_: str) -> ObjectRef:
        example.simple.act("cancel", "one")
        return RESULT

    example.runner.answers["work"] = late
    example.simple.work(example.command)
    assert (example.row().state, example.row().result) == ("cancelled", None)


def test_a_paused_task_is_resumed_where_it_stood(example: Example) -> None:
    """Commands of a paused task are acknowledged without work; resuming sends the command again."""
    example.simple.act("pause", "one")
    example.simple.work(example.command)
    assert (example.runner.calls, example.names()) == ([], [])
    with pytest.raises(Conflict, match="evaluation one is paused; only a queued or running one can be paused"):
        example.simple.act("pause", "one")
    example.simple.act_on_plan("resume", "plan")
    assert example.names() == ["EvaluateCheckpoint"]


def test_a_parked_command_fails_its_task(example: Example) -> None:
    """The first reason stays, and is published once."""
    example.simple.command_parked(example.command, "broken")
    example.simple.command_parked(example.command, "later")
    assert (example.row().state, example.row().error, example.names()) == ("failed", "broken", ["RunFailed"])


def test_a_replay_queues_a_task_again_that_parking_failed(example: Example) -> None:
    """The task keeps the reason and the time of its failure, does its work and completes. The time between the failure
    and the replay does not count."""
    example.simple.command_parked(example.command, "broken")
    assert (example.row().parked, example.names()) == ("command", ["RunFailed"])
    replay = example.simple.command_replayed(example.command)
    assert replay == (
        False, "evaluation one is queued again with all work that is not done. It had failed: broken",
    )  # fmt: skip
    row = example.row()
    assert (row.state, row.error, row.parked, row.finished) == ("queued", "", "", None)
    [requeue] = row.requeues
    assert requeue.reason == "broken" and datetime.fromisoformat(requeue.at) <= now()
    [command] = example.sent()
    example.simple.work(command)
    assert (example.row().state, example.names()) == ("completed", ["RunCompleted"])
    example.simple.command_parked(example.command, "later")
    assert example.row().state == "completed"


def test_a_replay_sends_all_parts_that_are_not_done(example: Example) -> None:
    """The commands of other parts were dropped while the task had failed, so they are sent again too; finished parts
    stay. A part whose object the collector has removed is done again."""
    for number in (0, 2):
        example.cut.work(example.parts[number])
    example.cut.command_parked(example.parts[1], "broken")
    example.blobs.delete("parts", "cut/2")
    assert not example.cut.command_replayed(example.parts[1]).needed
    assert example.sent() == example.parts[1:]
    for command in example.parts[1:]:
        example.cut.work(command)
    assert example.names() == ["MergeExtraction"]
    # A second parked part of the same failure: the task is at work again, so its message may be sent again.
    replay = example.cut.command_replayed(example.parts[2])
    assert (replay.needed, example.sent()) == (True, [])
    assert replay.effect == "extraction cut is running. The message is sent again; work that is done is not repeated."


def test_a_replay_of_work_that_has_ended_otherwise_is_refused(example: Example) -> None:
    """Conflict for a task that is cancelled, completed, or failed without a parked command. Nothing is changed."""
    example.simple.act("cancel", "one")
    with pytest.raises(Conflict, match="evaluation one is cancelled, so this message has no effect; discard it"):
        example.simple.command_replayed(example.command)
    with example.ports.records.transaction() as session:
        session.get_one(CutRow, "cut").end("failed", "under an earlier version")
    with pytest.raises(Conflict, match="extraction cut is failed, so this message has no effect"):
        example.cut.command_replayed(example.parts[0])
    assert (example.row().state, example.row("cut").error) == ("cancelled", "under an earlier version")
    assert example.names() == ["RunFailed"]


def test_a_replay_of_a_paused_task_waits_for_its_resumption(example: Example) -> None:
    """Its work is enqueued when it is resumed, so the message is not needed; it may be sent."""
    example.simple.act("pause", "one")
    replay = example.simple.command_replayed(example.command)
    assert replay == (True, "evaluation one is paused. Its work is enqueued when it is resumed.")


def test_a_replayed_event_begins_a_task_that_could_not_begin(example: Example) -> None:
    """The failed row that stood for it is removed, so the event is handled as new. A task that has begun is left
    alone."""
    example.simple.record_failed(SimpleRow(evaluation_id="two"), "no such layer")
    replay = example.simple.event_replayed("two")
    assert replay.needed and replay.effect.endswith("begins evaluation two. It could not begin before: no such layer")
    with example.ports.records.reading() as session:
        assert session.get(SimpleRow, "two") is None
    example.simple.command_parked(example.command, "broken")
    assert example.simple.event_replayed("one") == example.simple.event_replayed("unknown") == EVENT_SENT
    assert (example.row().state, example.row().parked) == ("failed", "command")


def test_a_task_that_cannot_begin_is_recorded(example: Example) -> None:
    """It is there as failed with its reason; one that is known is left alone."""
    example.simple.record_failed(SimpleRow(evaluation_id="two"), "no such layer")
    example.simple.record_failed(SimpleRow(evaluation_id="one"), "no such layer")
    with example.ports.records.reading() as session:
        assert session.get_one(SimpleRow, "two").error == "no such layer"
    assert example.row().state == "queued"


def test_what_does_not_exist_is_not_found(example: Example) -> None:
    """The noun and the id are named."""
    with pytest.raises(NotFound, match="there is no evaluation 'three'"):
        example.simple.act("pause", "three")
    with pytest.raises(NotFound, match="there is no evaluation of a plan ''"):
        example.simple.act_on_plan("pause", "")


def test_recovery_sends_what_is_not_done_and_publishes_what_is(example: Example) -> None:
    """A bus in memory has lost both; a paused task stays paused."""
    example.simple.work(example.command)
    example.cut.work(example.parts[1])
    example.sent()
    example.simple.recover()
    example.cut.recover()
    assert example.names() == ["RunCompleted", "ExtractShard", "ExtractShard"]
    example.cut.act("pause", "cut")
    example.cut.recover()
    assert example.names() == []


def test_the_last_part_has_all_merged_once(example: Example) -> None:
    """In any order and with every command twice there is one merge."""
    for number in (2, 0, 2, 1, 1, 0):
        example.cut.work(example.parts[number])
    [merge] = example.sent()
    example.cut.merge_all(merge)
    example.cut.merge_all(merge)
    assert (example.row("cut").state, example.row("cut").result) == ("completed", RESULT)
    assert [name for name, _ in example.runner.calls] == ["work", "work", "work", "merge"]


def test_a_merge_before_all_parts_are_in_does_nothing(example: Example) -> None:
    """The last part sends the merge again."""
    example.cut.work(example.parts[0])
    example.cut.merge_all(events_pb2.MergeExtraction(extraction_id="cut"))
    assert (example.row("cut").state, len(example.runner.calls)) == ("running", 1)


def test_a_paused_task_records_its_parts_and_merges_when_resumed(example: Example) -> None:
    """A part that was being computed is recorded; resuming sends the missing ones, or the merge if none is missing."""
    example.cut.work(example.parts[0])

    def paused(_: str) -> ObjectRef:
        example.cut.act("pause", "cut")
        return RESULT

    example.runner.answers["work"] = paused
    example.cut.work(example.parts[1])
    example.cut.act("resume", "cut")
    [missing] = example.sent()
    assert missing == example.parts[2]
    example.cut.work(missing)
    assert example.names() == [], "the last part came in while the task was paused"
    example.cut.act("resume", "cut")
    [merge] = example.sent()

    def paused_again(_: list[int]) -> ObjectRef:
        example.cut.act("pause", "cut")
        return RESULT

    example.runner.answers["merge"] = paused_again
    example.cut.merge_all(merge)
    assert (example.row("cut").state, example.row("cut").result) == ("paused", None)


def test_commands_name_their_task_as_the_table_does(example: Example) -> None:
    """A message without the id of the table's key is a defect, not a task."""
    with pytest.raises(AttributeError):
        example.simple.command_parked(wrappers_pb2.StringValue(value="one"), "reason")
