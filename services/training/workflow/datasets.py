"""Data sets: built as a sample, imported from a directory, and registered once their manifest is stored."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from primitives.training.v1 import events_pb2
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.orm import Session

from services.common.blobs import ObjectRef
from services.common.errors import Forbidden, NotFound, Unavailable
from services.common.identity import derived_id, new_id
from services.common.paging import FIRST_PAGE, Window
from services.common.records import get_row, newest_page
from services.common.redaction import quoted
from services.common.work.starts import CallKey, Start, start_once
from services.common.work.tasks import Assignment, Step, Tasks
from services.imaging.dataset import DatasetManifest
from services.training.importer import ImportSource, import_directory
from services.training.names import BUCKET, PLAIN_JOBS_QUEUE
from services.training.schemas import (
    BuildList,
    BuildView,
    DatasetList,
    DatasetView,
    EntryName,
    ImportFolders,
    StartBuildRequest,
)
from services.training.specs import BUILD_SAMPLE, IMPORT_FOLDER, BuildSpec, BuiltDataset, ImportSpec
from services.training.tables import BuildRow, DatasetRow


@dataclass
class Datasets(Tasks[BuildRow]):
    """The use cases of data sets. The tasks are the builds of the sample, and the imports of folders that are directly
    in `import_folder`."""

    import_folder: Path | None = None

    noun: ClassVar[str] = "build"
    table: ClassVar[type[BuildRow]] = BuildRow

    def build(self, command: events_pb2.BuildDataset) -> None:
        """Perform BuildDataset."""
        if self.get_build(command.build_id).folder:
            self.perform(command.build_id, Step(IMPORT_FOLDER, self._prepare_import, self._record))
        else:
            self.perform(command.build_id, Step(BUILD_SAMPLE, self._prepare, self._record))

    def _prepare(self, _session: Session, build: BuildRow) -> Assignment[BuildSpec]:
        return Assignment(BuildSpec(blobs_url=self.ports.blobs.url, build_id=build.build_id))

    def _prepare_import(self, _session: Session, build: BuildRow) -> Assignment[ImportSpec]:
        source = build.source or StartBuildRequest()
        return Assignment(
            ImportSpec(
                blobs_url=self.ports.blobs.url,
                directory=self.inside(source.folder),
                classes=source.classes,
                mammograms=self.inside(source.mammograms) if source.mammograms else None,
            )
        )

    def _record(self, session: Session, build: BuildRow, built: BuiltDataset) -> None:
        add_dataset(session, built.manifest, built.ref)
        if build.active:  # a paused one is built again when it is resumed, to the same bytes
            build.dataset_id = built.manifest.dataset_id
            self.complete(session, build)

    def folders(self) -> ImportFolders:
        """The folders that may be imported, by name. None if the operator has set no import folder."""
        if self.import_folder is None:
            return ImportFolders(configured=False, folders=[])
        try:
            entries = sorted(entry.name for entry in self.import_folder.iterdir() if entry.is_dir())
        except OSError as error:
            raise Unavailable(f"the import folder {self.import_folder} cannot be read: {error}") from error
        named = TypeAdapter(EntryName)
        return ImportFolders(configured=True, folders=[name for name in entries if _is_valid(named, name)])

    def start_build(self, request: StartBuildRequest, key: CallKey | None = None) -> BuildView:
        """Enqueue the build of the sample, or the import of a folder. NotFound if there is no such folder, Forbidden
        without an import folder."""

        def begin(start: Start) -> None:
            for name in filter(None, (request.folder, request.mammograms)):
                self.inside(name)
            with self.ports.records.transaction() as session:
                start.record(session)
                build = BuildRow(build_id=start.task_id, plan_id="", source=request)
                session.add(build)
                self.enqueue(session, build)

        return self.get_build(start_once(self.ports.records, new_id("build"), key, begin, request))

    def get_build(self, build_id: str) -> BuildView:
        """One build. NotFound if there is none."""
        with self.ports.records.reading() as session:
            return BuildView.model_validate(get_row(session, BuildRow, build_id, "build"))

    def builds(self, window: Window = FIRST_PAGE) -> BuildList:
        """A page of all builds, newest first."""
        with self.ports.records.reading() as session:
            page = newest_page(session, BuildRow, window)
            builds = [BuildView.model_validate(row) for row in page.rows]
        return BuildList(builds=builds, total=page.total, next_offset=page.next_offset)

    def inside(self, name: str) -> Path:
        """The folder of this name directly in the import folder. A link that leads out of it is not one."""
        if self.import_folder is None:
            raise Forbidden("no folder can be imported here: PRIMITIVES_TRAINING_IMPORT_FOLDER is not set")
        root = self.import_folder.resolve()
        path = (root / name).resolve()
        if path.parent != root or not path.is_dir():
            raise NotFound(f"the import folder has no folder {quoted(name)}")
        return path

    def import_directory(self, source: ImportSource, on_patch: Callable[[int, int], None]) -> DatasetView:
        """Import a directory in the layout of the original, and register it; see `importer.import_directory`."""
        manifest, ref = import_directory(self.ports.blobs, BUCKET, source, on_patch)
        return self.register(manifest, ref)

    def register(self, manifest: DatasetManifest, ref: ObjectRef) -> DatasetView:
        """Register a stored data set. Registering it again changes nothing."""
        with self.ports.records.transaction() as session:
            add_dataset(session, manifest, ref)
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
        self.ports.outbox.send(session, PLAIN_JOBS_QUEUE, events_pb2.BuildDataset(build_id=task.build_id))

    def publish_completed(self, session: Session, task: BuildRow) -> None:
        event = events_pb2.DatasetBuilt(build_id=task.build_id, plan_id=task.plan_id, dataset_id=task.dataset_id or "")
        self.ports.outbox.publish(session, event)


def dataset_row(session: Session, dataset_id: str) -> DatasetRow:
    """The record of a data set. NotFound if there is none."""
    return get_row(session, DatasetRow, dataset_id, "data set")


def _is_valid(kind: TypeAdapter[str], value: str) -> bool:
    try:
        kind.validate_python(value)
    except ValidationError:
        return False
    return True


def add_dataset(session: Session, manifest: DatasetManifest, ref: ObjectRef) -> None:
    """Add a stored data set, unless it is registered."""
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
