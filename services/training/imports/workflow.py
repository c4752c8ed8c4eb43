"""Imports of raw mammograms: the source is read, its parts are cut by all workers, and the last part has the data set
assembled."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from primitives.training.v1 import events_pb2
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.common.blobs import ObjectRef
from services.common.errors import JobCrashed
from services.common.identity import new_id
from services.common.observability.logs import get_logger
from services.common.paging import FIRST_PAGE, Window
from services.common.progress import Progress
from services.common.records import get_row, newest_page
from services.common.work.fan_out import FanOutTasks, count_parts, counts_of_parts
from services.common.work.jobs import JobReport
from services.common.work.starts import CallKey, Start, start_once
from services.common.work.tasks import Assignment, Step
from services.common.work.views import task_fields
from services.training.imports.buckets import require_importable
from services.training.imports.references import lost_parts
from services.training.imports.schemas import ImportLayout, ImportLayouts, ImportList, ImportView, StartImportRequest
from services.training.imports.specs import (
    ASSEMBLE,
    CUT_PART,
    PLAN_IMPORT,
    AssembleSpec,
    PartSpec,
    PlannedImport,
    PlanSpec,
)
from services.training.imports.tables import ImportPartRow, ImportRow
from services.training.names import PLAIN_JOBS_QUEUE
from services.training.raw.layouts import LAYOUTS
from services.training.raw.plan import Source, open_plan, part_journal
from services.training.raw.source.dicomweb.search import Selection
from services.training.raw.source.dicomweb.servers import read_servers, server_named
from services.training.raw.source.dicomweb.source import DicomwebSource
from services.training.specs import BuiltDataset
from services.training.workflow.contents import DatasetContents
from services.training.workflow.datasets import Datasets, add_dataset

log = get_logger(__name__)


@dataclass
class RawImports(FanOutTasks[ImportRow, events_pb2.CutImportPart]):
    """The use cases of imports of raw mammograms. `buckets` are those that may be imported."""

    datasets: Datasets
    buckets: tuple[str, ...] = ()
    pseudonym_key: Path | None = None
    home: Path = Path()
    """Where the key of pseudonyms is made if none is configured."""
    dicomweb_file: Path | None = None
    """The DICOMweb servers that may be imported from."""

    noun: ClassVar[str] = "import"
    table: ClassVar[type[ImportRow]] = ImportRow
    queue: ClassVar[str] = PLAIN_JOBS_QUEUE
    part_table: ClassVar[type[ImportPartRow]] = ImportPartRow

    def start(self, request: StartImportRequest, key: CallKey | None = None) -> ImportView:
        """Enqueue an import. InvalidInput for an unknown layout, NotFound for an unknown folder or DICOMweb server,
        Forbidden for a bucket that may not be imported, and for a folder if there is no import folder."""

        def begin(start: Start) -> None:
            self._source(request).check()
            if request.dicomweb:
                server_named(self.dicomweb_file, request.dicomweb)
            with self.ports.records.transaction() as session:
                start.record(session)
                task = ImportRow(import_id=start.task_id, request=request)
                session.add(task)
                session.flush()
                self.enqueue(session, task)

        return self.get(start_once(self.ports.records, new_id("import"), key, begin, request))

    def get(self, import_id: str) -> ImportView:
        """One import, with its report once it is completed. NotFound if there is none."""
        with self.ports.records.reading() as session:
            row = get_row(session, ImportRow, import_id, self.noun)
            view = _view(row, count_parts(session, ImportPartRow, import_id))
        if view.dataset_id is not None:
            view.report = DatasetContents(self.ports).report(view.dataset_id)
        return view

    def all(self, window: Window = FIRST_PAGE) -> ImportList:
        """A page of all imports, newest first, without their reports."""
        with self.ports.records.reading() as session:
            page = newest_page(session, ImportRow, window)
            done = counts_of_parts(session, ImportPartRow, [row.import_id for row in page.rows])
            views = [_view(row, done.get(row.import_id, 0)) for row in page.rows]
        return ImportList(imports=views, total=page.total, next_offset=page.next_offset)

    def layouts(self) -> ImportLayouts:
        """The layouts, and the buckets and DICOMweb servers that may be imported."""
        layouts = [
            ImportLayout(name=name, title=one.title, licence=one.licence.name, terms=list(one.licence.terms))
            for name, one in LAYOUTS.items()
        ]
        servers = sorted(read_servers(self.dicomweb_file)) if self.dicomweb_file is not None else []
        return ImportLayouts(layouts=layouts, buckets=list(self.buckets), dicomweb=servers)

    def plan(self, command: events_pb2.PlanImport) -> None:
        """Perform PlanImport: read the source, and enqueue the parts."""

        def prepare(_session: Session, task: ImportRow) -> Assignment[PlanSpec] | None:
            if task.planned is not None:
                return None
            return Assignment(
                PlanSpec(
                    blobs_url=self.ports.blobs.url,
                    owner=task.import_id,
                    name=task.request.dataset_name,
                    source=self._source(task.request),
                    recipe=task.request.recipe,
                    pseudonym_key=self.pseudonym_key,
                    home=self.home,
                )
            )

        def record(session: Session, task: ImportRow, planned: PlannedImport) -> None:
            task.planned, task.parts, task.mammograms = planned.plan, planned.parts, planned.mammograms
            if task.active:
                self.enqueue(session, task)

        self.perform(command.import_id, Step(PLAN_IMPORT, prepare, record, lease_suffix="plan"))

    def cut_part(self, command: events_pb2.CutImportPart) -> None:
        """Perform CutImportPart. The last part enqueues the assembly.

        If the job crashes or hangs, the mammogram that it was cutting is left out, and the part is cut again.
        JobCrashed if it was not cutting any.
        """
        while True:
            try:
                self.perform_part(command, Step(CUT_PART, self._prepare_part(command), self._record_part(command)))
                return
            except JobCrashed as error:
                if not self._blame(command):
                    raise
                log.warning("mammogram left out", task=command.import_id, part=command.part, reason=str(error))

    def assemble(self, command: events_pb2.AssembleImport) -> None:
        """Perform AssembleImport: register the data set and publish the completion, once all parts are cut."""
        self.perform_merge(command.import_id, Step(ASSEMBLE, self._prepare_assembly, self._record_assembly))

    def enqueue(self, session: Session, task: ImportRow) -> None:
        if task.planned is None:
            self.ports.outbox.send(session, self.queue, events_pb2.PlanImport(import_id=task.import_id))
        else:
            super().enqueue(session, task)

    def part_commands(self, _session: Session, task: ImportRow) -> Sequence[events_pb2.CutImportPart]:
        return [events_pb2.CutImportPart(import_id=task.import_id, part=part) for part in range(task.parts)]

    def part_key(self, command: events_pb2.CutImportPart) -> tuple[str | int, ...]:
        return command.import_id, command.part

    def parts_expected(self, task: ImportRow) -> int:
        return task.parts

    def merge(self, session: Session, task: ImportRow) -> None:
        self.ports.outbox.send(session, self.queue, events_pb2.AssembleImport(import_id=task.import_id))

    def check_results(self, key: str) -> Callable[[Session], None]:
        """Find the parts of a failed import whose objects the collector has removed, so that they are cut again. If
        those of the plan are removed, the source is read again too."""
        with self.ports.records.reading() as session:
            row = get_row(session, ImportRow, key, self.noun)
            parts = {part.part: part.result for part in _parts_of(session, key)}
        lost = lost_parts(self.ports.blobs, row.planned, parts)

        def forget(session: Session) -> None:
            for part in _parts_of(session, key):
                if lost is None or part.part in lost:
                    session.delete(part)
            if lost is None:
                session.get_one(ImportRow, key).planned = None

        return forget

    def publish_completed(self, session: Session, task: ImportRow) -> None:
        event = events_pb2.DatasetImported(import_id=task.import_id, dataset_id=task.dataset_id or "")
        self.ports.outbox.publish(session, event)

    def publish_failed(self, session: Session, task: ImportRow) -> None:
        self.ports.outbox.publish(session, events_pb2.ImportFailed(import_id=task.import_id, error=task.error))

    def _source(self, request: StartImportRequest) -> Source:
        """Where this process finds the source of an import."""
        dicomweb = self._dicomweb(request) if request.dicomweb else None
        if request.folder:
            return Source(layout=request.layout, folder=self.datasets.inside(request.folder), dicomweb=dicomweb)
        if request.bucket:
            require_importable(request.bucket, self.buckets)
        return Source(layout=request.layout, bucket=request.bucket, prefix=request.prefix, dicomweb=dicomweb)

    def _dicomweb(self, request: StartImportRequest) -> DicomwebSource:
        return DicomwebSource(
            server=request.dicomweb,
            servers_file=self.dicomweb_file,
            selection=Selection(since=request.since, until=request.until),
            pseudonym_key=self.pseudonym_key,
            home=self.home,
        )

    def _prepare_part(
        self, command: events_pb2.CutImportPart
    ) -> Callable[[Session, ImportRow], Assignment[PartSpec] | None]:
        def prepare(session: Session, task: ImportRow) -> Assignment[PartSpec] | None:
            if task.planned is None:
                return None
            done, parts, mammograms = self.parts_done(session, task.import_id), task.parts, task.mammograms

            def progress(report: JobReport) -> Progress:
                cut = mammograms * (done + report.done / max(1, report.total)) / parts
                return Progress(phase=report.phase, done=round(cut), total=mammograms, unit=report.unit)

            source = self._source(task.request)
            spec = PartSpec(blobs_url=self.ports.blobs.url, plan=task.planned, source=source, part=command.part)
            return Assignment(spec, progress)

        return prepare

    def _record_part(self, command: events_pb2.CutImportPart) -> Callable[[Session, ImportRow, ObjectRef], None]:
        def record(session: Session, task: ImportRow, result: ObjectRef) -> None:
            session.add(ImportPartRow(import_id=task.import_id, part=command.part, result=result))

        return record

    def _prepare_assembly(self, _session: Session, task: ImportRow) -> Assignment[AssembleSpec] | None:
        if task.planned is None:
            return None
        return Assignment(AssembleSpec(blobs_url=self.ports.blobs.url, plan=task.planned))

    def _record_assembly(self, session: Session, task: ImportRow, built: BuiltDataset) -> None:
        add_dataset(session, built.manifest, built.ref)
        task.dataset_id = built.manifest.dataset_id
        self.complete(session, task)

    def _blame(self, command: events_pb2.CutImportPart) -> bool:
        """Have the mammogram that a crashed job was cutting left out. Return whether there was one."""
        with self.ports.records.reading() as session:
            planned = get_row(session, ImportRow, command.import_id, self.noun).planned
        if planned is None:
            return False
        return part_journal(self.ports.blobs, open_plan(self.ports.blobs, planned), command.part).blame()


def _parts_of(session: Session, import_id: str) -> Sequence[ImportPartRow]:
    return session.scalars(select(ImportPartRow).where(ImportPartRow.import_id == import_id)).all()


def _view(row: ImportRow, done: int) -> ImportView:
    request = row.request
    return ImportView(
        import_id=row.import_id,
        name=request.dataset_name,
        layout=request.layout,
        folder=request.folder,
        bucket=request.bucket,
        prefix=request.prefix,
        dicomweb=request.dicomweb,
        since=request.since,
        until=request.until,
        recipe=request.recipe.model_dump(mode="json"),
        parts=row.parts,
        parts_done=done,
        mammograms=row.mammograms,
        dataset_id=row.dataset_id,
        **task_fields(row),
    )
