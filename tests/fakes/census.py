"""A census counts the patches of each class in a data set. This is the worked example of docs/adr/0012."""

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import String
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from services.common.blobs import ObjectRef, open_blobs
from services.common.bus import Consumer
from services.common.http.idempotency import StartKey
from services.common.http.streams import Streams
from services.common.http.task_routes import TaskRoutes
from services.common.identity import new_id
from services.common.records import (
    ModelColumn,
    Reference,
    WorkColumns,
    get_row,
    idempotency_keys_table,
    leases_table,
    outbox_table,
)
from services.common.work.jobs import Job, JobFunction
from services.common.work.starts import CallKey, Start, start_once
from services.common.work.tasks import Assignment, Step, Tasks
from services.common.work.views import TaskView
from services.imaging.dataset import Dataset
from tests.fakes.messages import CountPatches


class Base(DeclarativeBase):
    """The tables of the service."""


outbox_table(Base.metadata)
leases_table(Base.metadata)
idempotency_keys_table(Base.metadata)


# tables.py
class CensusRow(WorkColumns, Base):  # WorkColumns: plan, state, error, progress and times
    __tablename__ = "censuses"

    census_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    dataset: Mapped[ObjectRef] = mapped_column(Reference)
    counts: Mapped[dict[str, int] | None] = mapped_column(ModelColumn(dict[str, int]))


# specs.py
class CensusSpec(BaseModel, frozen=True):
    blobs_url: str
    dataset: ObjectRef


COUNT: JobFunction[CensusSpec, dict[str, int]] = JobFunction("tests.fakes.census:count_patches")


# job.py: runs in the child process
@COUNT.implements
def count_patches(job: Job, spec: CensusSpec) -> dict[str, int]:
    data, counts = Dataset.open(open_blobs(spec.blobs_url), spec.dataset), Counter[str]()
    for done, label in enumerate(data.labels, 1):
        job.stop_if_requested()
        counts[data.manifest.classes[label]] += 1
        job.report(done, len(data.labels), phase="counting", unit="patches")
    return dict(counts)


# schemas.py
class CensusView(TaskView):
    census_id: str
    counts: dict[str, int] | None


# workflow.py
@dataclass
class Censuses(Tasks[CensusRow]):
    noun: ClassVar[str] = "census"
    table: ClassVar[type[CensusRow]] = CensusRow

    def start(self, dataset: ObjectRef, key: CallKey | None = None) -> CensusView:
        def begin(start: Start) -> None:  # not called if the key has started a census before
            with self.ports.records.transaction() as session:
                start.record(session)
                row = CensusRow(census_id=start.task_id, dataset=dataset)
                session.add(row)
                session.flush()
                self.enqueue(session, row)

        return self.get(start_once(self.ports.records, new_id("census"), key, begin, dataset))

    def get(self, census_id: str) -> CensusView:
        with self.ports.records.reading() as session:
            return CensusView.model_validate(get_row(session, CensusRow, census_id, self.noun))

    def enqueue(self, session: Session, task: CensusRow) -> None:
        self.ports.outbox.send(session, "example.jobs", CountPatches(census_id=task.census_id))

    def count(self, command: CountPatches) -> None:
        self.perform(command.census_id, Step(COUNT, self._prepare, self._record_counts))

    def _prepare(self, _session: Session, task: CensusRow) -> Assignment[CensusSpec]:
        return Assignment(CensusSpec(blobs_url=self.ports.blobs.url, dataset=task.dataset))

    def _record_counts(self, session: Session, task: CensusRow, counts: dict[str, int]) -> None:
        task.counts = counts
        if task.active:  # a task that was paused meanwhile counts again when it is resumed
            self.complete(session, task)


# consumer.py
def handle_commands(jobs: Consumer, censuses: Censuses) -> None:
    jobs.on(CountPatches, censuses.count, censuses.command_parked, censuses.command_replayed)


# api.py
def add_census_routes(router: APIRouter, censuses: Censuses, streams: Streams) -> None:
    @router.post("/censuses", status_code=202)
    def start_census(dataset: ObjectRef, key: StartKey) -> CensusView:
        return censuses.start(dataset, key)

    TaskRoutes("census", "censuses", CensusView, censuses.get, censuses.act, streams).add(router)
