"""Data sets: built as a sample, imported from a directory, and registered once their manifest is stored."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from primitives.training.v1 import events_pb2
from sqlalchemy.orm import Session

from services.common.blobs import ObjectRef
from services.common.identity import derived_id
from services.common.paging import FIRST_PAGE, Window
from services.common.records import get_row, newest_page
from services.common.work.tasks import Assignment, Step, Tasks
from services.imaging.dataset import DatasetManifest
from services.training.importer import ImportSource, import_directory
from services.training.names import BUCKET, JOBS_QUEUE
from services.training.schemas import DatasetList, DatasetView
from services.training.specs import BUILD_SAMPLE, BuildSpec, BuiltDataset
from services.training.tables import BuildRow, DatasetRow


@dataclass
class Datasets(Tasks[BuildRow]):
    """The use cases of data sets. The tasks are the builds of the sample."""

    noun: ClassVar[str] = "build"
    table: ClassVar[type[BuildRow]] = BuildRow

    def build(self, command: events_pb2.BuildDataset) -> None:
        """Perform BuildDataset."""
        self.perform(command.build_id, Step(BUILD_SAMPLE, self._prepare, self._record))

    def _prepare(self, _session: Session, _build: BuildRow) -> Assignment[BuildSpec]:
        return Assignment(BuildSpec(blobs_url=self.ports.blobs.url))

    def _record(self, session: Session, build: BuildRow, built: BuiltDataset) -> None:
        _register(session, built.manifest, built.ref)
        if build.active:  # a paused one is built again when it is resumed, to the same bytes
            build.dataset_id = built.manifest.dataset_id
            self.complete(session, build)

    def import_directory(self, source: ImportSource, on_patch: Callable[[int, int], None]) -> DatasetView:
        """Import a directory in the layout of the original, and register it; see `importer.import_directory`."""
        manifest, ref = import_directory(self.ports.blobs, BUCKET, source, on_patch)
        return self.register(manifest, ref)

    def register(self, manifest: DatasetManifest, ref: ObjectRef) -> DatasetView:
        """Register a stored data set. Registering it again changes nothing."""
        with self.ports.records.transaction() as session:
            _register(session, manifest, ref)
        return self.get(manifest.dataset_id)

    def all(self, window: Window = FIRST_PAGE) -> DatasetList:
        """A page of all data sets, newest first."""
        with self.ports.records.reading() as session:
            page = newest_page(session, DatasetRow, window)
            datasets = [DatasetView.model_validate(row) for row in page.rows]
        return DatasetList(datasets=datasets, total=page.total, next_offset=page.next_offset)

    def get(self, dataset_id: str) -> DatasetView:
        """One data set. NotFound if there is none."""
        with self.ports.records.reading() as session:
            return DatasetView.model_validate(dataset_row(session, dataset_id))

    def queue_build(self, session: Session, plan_id: str) -> None:
        """Enqueue the build of the sample for a plan."""
        build = BuildRow(build_id=derived_id("build", plan_id), plan_id=plan_id)
        session.add(build)
        self.enqueue(session, build)

    def enqueue(self, session: Session, task: BuildRow) -> None:
        self.ports.outbox.send(session, JOBS_QUEUE, events_pb2.BuildDataset(build_id=task.build_id))

    def publish_completed(self, session: Session, task: BuildRow) -> None:
        event = events_pb2.DatasetBuilt(build_id=task.build_id, plan_id=task.plan_id, dataset_id=task.dataset_id or "")
        self.ports.outbox.publish(session, event)


def dataset_row(session: Session, dataset_id: str) -> DatasetRow:
    """The record of a data set. NotFound if there is none."""
    return get_row(session, DatasetRow, dataset_id, "data set")


def _register(session: Session, manifest: DatasetManifest, ref: ObjectRef) -> None:
    if session.get(DatasetRow, manifest.dataset_id) is None:
        session.add(
            DatasetRow(
                dataset_id=manifest.dataset_id,
                name=manifest.name,
                classes=list(manifest.classes),
                splits=manifest.splits,
                mammograms=manifest.mammogram_count,
                manifest=ref,
            )
        )
        session.flush()
