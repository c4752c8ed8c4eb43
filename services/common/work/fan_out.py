"""Tasks whose work is cut into parts. Any process performs any part; the last part to be recorded has them merged."""

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic

from google.protobuf import message
from sqlalchemy import func, inspect, select
from sqlalchemy.orm import Session
from typing_extensions import TypeVar

from services.common.blobs import ObjectRef, missing_objects
from services.common.work.jobs import M, S, T
from services.common.work.tasks import Assignment, R, Step, Tasks

C = TypeVar("C", bound=message.Message)


@dataclass
class FanOutTasks(Tasks[R], Generic[R, C]):
    """Tasks of one table, with a second table of their finished parts. A row there says that the part is done."""

    queue: ClassVar[str]
    """The queue of the commands of parts."""
    part_table: ClassVar[type[Any]]
    """The class of the finished parts' rows. The first column of its primary key is the task's id."""

    @abstractmethod
    def part_commands(self, _session: Session, task: R) -> Sequence[C]:
        """The command of every part, in order."""

    @abstractmethod
    def part_key(self, command: C) -> tuple[str | int, ...]:
        """The primary key of a part's row."""

    @abstractmethod
    def parts_expected(self, task: R) -> int:
        """The number of parts that the task has."""

    @abstractmethod
    def merge(self, session: Session, task: R) -> None:
        """Merge the parts, or enqueue the command that merges them. It is called when all parts are recorded."""

    def part_objects(self, _part: Any) -> Iterable[ObjectRef]:
        """The objects that a finished part's row refers to."""
        return ()

    def check_results(self, key: str) -> Callable[[Session], None]:
        """Find the finished parts whose objects are gone, so that they are done again."""
        columns = inspect(self.part_table).primary_key
        with self.ports.records.reading() as session:
            parts = session.scalars(select(self.part_table).where(columns[0] == key)).all()
        objects = {ref for part in parts for ref in self.part_objects(part)}
        missing = missing_objects(self.ports.blobs, objects)
        lost = [inspect(part).identity for part in parts if missing.intersection(self.part_objects(part))]

        def forget(session: Session) -> None:
            for identity in lost:
                session.delete(session.get_one(self.part_table, identity))

        return forget

    def enqueue(self, session: Session, task: R) -> None:
        """Send the commands of the missing parts. If no part is missing, start the merge."""
        missing = self.missing_commands(session, task)
        for command in missing:
            self.ports.outbox.send(session, self.queue, command)
        if not missing:
            self.merge(session, task)

    def missing_commands(self, session: Session, task: R) -> list[C]:
        """The commands of the parts that are not recorded yet."""
        columns = inspect(self.part_table).primary_key
        key = inspect(task).identity[0] if inspect(task).identity else getattr(task, columns[0].name)
        finished = {tuple(row) for row in session.execute(select(*columns).where(columns[0] == key))}
        return [one for one in self.part_commands(session, task) if self.part_key(one) not in finished]

    def perform_part(self, command: C, step: Step[R, S, T, M]) -> None:
        """Perform a part that is not done yet. `step.record` adds the part's row; the last part starts the merge.

        The task's row is locked while a part is recorded, so if two parts finish at the same time, only one starts the
        merge. A paused task records its parts too; they are merged when it is resumed.
        """
        key = self.part_key(command)
        task_id = str(key[0])

        def prepare(session: Session, task: R) -> Assignment[S] | None:
            return None if session.get(self.part_table, key) is not None else step.prepare(session, task)

        def record(session: Session, task: R, result: T) -> None:
            if session.get(self.part_table, key) is not None:
                return
            step.record(session, task, result)
            session.flush()
            if task.active and self.parts_done(session, task_id) == self.parts_expected(task):
                self.merge(session, task)

        suffix = "/".join(str(value) for value in key[1:])
        self.perform(task_id, replace(step, prepare=prepare, record=record, lease_suffix=suffix))

    def perform_merge(self, key: str, step: Step[R, S, T, M]) -> None:
        """Perform the merge of a task whose parts are all recorded; do nothing if parts are missing. A task that was
        paused meanwhile records nothing: it is merged again, to the same bytes, when it is resumed."""

        def prepare(session: Session, task: R) -> Assignment[S] | None:
            complete = self.parts_done(session, key) >= self.parts_expected(task)
            return step.prepare(session, task) if complete else None

        def record(session: Session, task: R, result: T) -> None:
            if task.active:
                step.record(session, task, result)

        self.perform(key, replace(step, prepare=prepare, record=record, lease_suffix="merge"))

    def parts_done(self, session: Session, key: str) -> int:
        """The number of recorded parts."""
        return count_parts(session, self.part_table, key)


def count_parts(session: Session, table: type[Any], key: str) -> int:
    """The number of finished parts of a task."""
    return counts_of_parts(session, table, [key]).get(key, 0)


def counts_of_parts(session: Session, table: type[Any], keys: Collection[str]) -> dict[str, int]:
    """The numbers of finished parts of tasks, by task. A task without one is left out."""
    task = inspect(table).primary_key[0]
    query = select(task, func.count()).where(task.in_(keys)).group_by(task)
    return dict(session.execute(query).all())
