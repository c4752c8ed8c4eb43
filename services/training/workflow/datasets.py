"""Data sets: built as a sample, imported from a directory, registered once their manifest is written."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from primitives.training.v1 import events_pb2
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.common.blobs import ObjectRef
from services.common.errors import NotFound
from services.common.identity import derived_id
from services.common.records import ProgressWriter
from services.common.work.tasks import Tasks
from services.imaging.dataset import DatasetManifest
from services.training.importer import import_directory
from services.training.job import BUCKET
from services.training.schemas import DatasetList, DatasetView
from services.training.tables import BuildRow, DatasetRow

JOBS_QUEUE = "training.jobs"


@dataclass
class Datasets(Tasks[BuildRow]):
    """The use cases of data sets; its tasks are the builds of the sample."""

    noun: ClassVar[str] = "build"
    table: ClassVar[type[BuildRow]] = BuildRow

    def build(self, command: events_pb2.BuildDataset) -> None:
        """Handle BuildDataset."""
        with self.ports.leases.hold(command.build_id) as lease:
            with self.ports.records.transaction() as session:
                build = self.locked(session, command.build_id)
                if not build.active:
                    return
                build.begin()
            progress = ProgressWriter(self.ports.records, BuildRow, command.build_id)
            arguments = {"blobs_url": self.ports.blobs.url}
            result = self.run(command.build_id, "services.training.job:build_sample", arguments, progress)
            if result is None:
                return
            with self.ports.records.transaction() as session:
                lease.check(session)
                self._keep_build(session, command.build_id, result)

    def _keep_build(self, session: Session, build_id: str, result: dict[str, Any]) -> None:
        manifest = DatasetManifest.model_validate(result["manifest"])
        _register(session, manifest, ObjectRef.model_validate(result["ref"]))
        build = self.locked(session, build_id)
        if not build.active:
            return  # a paused one is built again when it is resumed, to the same bytes
        build.dataset_id = manifest.dataset_id
        build.end("completed")
        self.publish_completed(session, build)

    def build_failed(self, command: events_pb2.BuildDataset, reason: str) -> None:
        """BuildDataset was given up."""
        with self.ports.records.transaction() as session:
            self.fail_or_cancel(session, self.locked(session, command.build_id), "failed", reason)

    def import_directory(
        self,
        directory: Path,
        classes: int,
        mammograms: Path | None,
        on_patch: Callable[[int, int], None],
        outlines: Path | None = None,
    ) -> DatasetView:
        """Read a directory of the original's layout and register it; see `importer.import_directory`."""
        manifest, ref = import_directory(self.ports.blobs, BUCKET, directory, classes, mammograms, on_patch, outlines)
        return self.register(manifest, ref)

    def register(self, manifest: DatasetManifest, ref: ObjectRef) -> DatasetView:
        """Make a stored data set known; the same one again is the same one."""
        with self.ports.records.transaction() as session:
            _register(session, manifest, ref)
        return self.get(manifest.dataset_id)

    def all(self) -> DatasetList:
        """All data sets, newest first."""
        with self.ports.records.reading() as session:
            rows = session.scalars(select(DatasetRow).order_by(DatasetRow.created.desc())).all()
            return DatasetList(datasets=[DatasetView.model_validate(row) for row in rows])

    def get(self, dataset_id: str) -> DatasetView:
        """One data set."""
        with self.ports.records.reading() as session:
            return DatasetView.model_validate(dataset_row(session, dataset_id))

    def queue_build(self, session: Session, plan_id: str) -> None:
        """Have the sample built for a plan."""
        build = BuildRow(build_id=derived_id("build", plan_id), plan_id=plan_id)
        session.add(build)
        self.enqueue(session, build)

    def enqueue(self, session: Session, task: BuildRow) -> None:
        self.ports.outbox.send(session, JOBS_QUEUE, events_pb2.BuildDataset(build_id=task.build_id))

    def publish_completed(self, session: Session, task: BuildRow) -> None:
        event = events_pb2.DatasetBuilt(build_id=task.build_id, plan_id=task.plan_id, dataset_id=task.dataset_id or "")
        self.ports.outbox.publish(session, event)

    def publish_failed(self, session: Session, task: BuildRow) -> None:
        """Nobody is told: the plan's stage shows it."""


def dataset_row(session: Session, dataset_id: str) -> DatasetRow:
    """The record of a data set."""
    row = session.get(DatasetRow, dataset_id)
    if row is None:
        raise NotFound(f"there is no data set {dataset_id!r}")
    return row


def _register(session: Session, manifest: DatasetManifest, ref: ObjectRef) -> None:
    if session.get(DatasetRow, manifest.dataset_id) is None:
        session.add(
            DatasetRow(
                dataset_id=manifest.dataset_id,
                name=manifest.name,
                classes=list(manifest.classes),
                splits=manifest.splits,
                mammograms=manifest.mammogram_count,
                manifest=ref.model_dump(),
            )
        )
        session.flush()
