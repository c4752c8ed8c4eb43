"""Runs: queued, trained slice by slice, and completed with a checkpoint."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from primitives.training.v1 import events_pb2
from sqlalchemy.orm import Session

from services.common.blobs import ObjectRef, missing_objects
from services.common.errors import Conflict, InvalidInput, NotFound
from services.common.identity import new_id
from services.common.observability.metrics import IMAGES_TRAINED
from services.common.paging import FIRST_PAGE, Window
from services.common.records import get_row, newest_page
from services.common.redaction import quoted
from services.common.work.starts import CallKey, Start, start_once
from services.common.work.tasks import Assignment, Step, Tasks
from services.imaging.architectures import build_skeleton, native_preprocessing, transforms_input
from services.imaging.capture import check_layers
from services.imaging.checkpoint import CheckpointManifest, open_checkpoint
from services.training.events import run_completed
from services.training.names import JOBS_QUEUE
from services.training.schemas import ChangeRunRequest, KeptCheckpoint, RunList, RunSettings, RunView, StartRunRequest
from services.training.settings import TrainingSettings
from services.training.specs import TRAIN_SLICE, SavedCheckpoint, SliceSpec
from services.training.tables import WITHOUT_CHECKPOINT, RunRow
from services.training.workflow.datasets import dataset_row

SAVE_S = 120.0
"""Seconds that a paused run has to save its checkpoint. It steps no more from the first of them on. A network of some
gigabytes takes a while to an object store that is far away."""

ORDERING = ("seed", "batch_size", "accumulate_steps", "balance")
"""The settings that determine which patches a step of an epoch has."""


@dataclass
class Runs(Tasks[RunRow]):
    """The use cases of runs."""

    settings: TrainingSettings

    noun: ClassVar[str] = "run"
    table: ClassVar[type[RunRow]] = RunRow

    def start(self, request: StartRunRequest, key: CallKey | None = None) -> RunView:
        """Queue a run. InvalidInput if it cannot continue the run that it names, Conflict if that has no checkpoint."""

        def begin(start: Start) -> None:
            check_network(request.settings)
            with self.ports.records.transaction() as session:
                dataset_row(session, request.dataset_id)
                origin = self._origin(session, request)
                start.record(session)
                self.queue(session, start.task_id, "", request.dataset_id, request.settings)
                run = run_row(session, start.task_id)
                run.last_checkpoint, run.name = origin, request.name

        return self.get(start_once(self.ports.records, new_id("run"), key, begin, request))

    def train_slice(self, command: events_pb2.TrainSlice) -> None:
        """Perform TrainSlice: train until the run is complete, its slice of time is over, or it is paused. Then publish
        the completion, enqueue the next slice, or do nothing: resuming the run enqueues the next slice."""

        def prepare(session: Session, run: RunRow) -> Assignment[SliceSpec] | None:
            return None if command.slice < run.slices else Assignment(self._spec(session, run))

        def record(session: Session, run: RunRow, complete: bool) -> None:
            run.slices = command.slice + 1  # the slice may have been enqueued twice, as by a resume meanwhile
            if run.active and complete:
                run.end("completed")
                self.publish_completed(session, run)
            elif run.active:
                self.enqueue(session, run)

        step = Step(TRAIN_SLICE, prepare, record, counter=IMAGES_TRAINED, save=record_checkpoint, pause_s=SAVE_S)
        self.perform(command.run_id, step)

    def all(self, window: Window = FIRST_PAGE) -> RunList:
        """A page of all runs, newest first."""
        with self.ports.records.reading() as session:
            page = newest_page(session, RunRow, window)
            runs = [RunView.model_validate(row) for row in page.rows]
        return RunList(runs=runs, total=page.total, next_offset=page.next_offset)

    def get(self, run_id: str) -> RunView:
        """One run. NotFound if there is none."""
        with self.ports.records.reading() as session:
            return RunView.model_validate(run_row(session, run_id))

    def change(self, run_id: str, request: ChangeRunRequest) -> RunView:
        """Give a run another name, in any state. NotFound if there is none."""
        with self.ports.records.transaction() as session:
            self.locked(session, run_id).name = request.name
        return self.get(run_id)

    def queue(self, session: Session, run_id: str, plan_id: str, dataset_id: str, settings: RunSettings) -> None:
        """Record a run and enqueue its first slice, unless it is known."""
        if session.get(RunRow, run_id) is None:
            run = RunRow(run_id=run_id, plan_id=plan_id, dataset_id=dataset_id, settings=settings.model_dump())
            session.add(run)
            session.flush()
            self.enqueue(session, run)

    def enqueue(self, session: Session, task: RunRow) -> None:
        command = events_pb2.TrainSlice(run_id=task.run_id, slice=task.slices)
        self.ports.outbox.send(session, JOBS_QUEUE, command)

    def publish_completed(self, session: Session, task: RunRow) -> None:
        event = run_completed(session, task, dataset_row(session, task.dataset_id), task.plan_id)
        self.ports.outbox.publish(session, event)

    def publish_failed(self, session: Session, task: RunRow) -> None:
        event = events_pb2.RunFailed(run_id=task.run_id, plan_id=task.plan_id, error=task.error)
        self.ports.outbox.publish(session, event)

    def check_results(self, key: str) -> Callable[[Session], None]:
        """Check that the checkpoints of a failed run still exist. Conflict if the collector has removed one."""
        with self.ports.records.reading() as session:
            run = run_row(session, key)
        try:
            if run.state == "failed":
                manifests = [open_checkpoint(self.ports.blobs, ref) for ref in run.stored_checkpoints]
                parts = [ref for manifest in manifests for ref in manifest.objects]
                for ref in missing_objects(self.ports.blobs, parts):
                    raise NotFound(f"there is no object {ref.bucket}/{ref.key}")
        except (NotFound, InvalidInput) as error:
            raise Conflict(f"run {key} cannot continue, since a checkpoint of it was removed: {error}") from error
        return super().check_results(key)

    def _spec(self, session: Session, run: RunRow) -> SliceSpec:
        settings = self.settings
        return SliceSpec(
            blobs_url=self.ports.blobs.url,
            scratch=str(settings.shared.scratch()),
            run_id=run.run_id,
            dataset=dataset_row(session, run.dataset_id).manifest,
            settings=RunSettings.model_validate(run.settings),
            checkpoint=run.last_checkpoint,
            slice_s=settings.slice_s,
            cache_mb=settings.cache_mb,
            device=settings.shared.device,
            processes=settings.processes,
            nodes=settings.nodes,
            rendezvous=settings.rendezvous,
        )

    def _origin(self, session: Session, request: StartRunRequest) -> ObjectRef | None:
        """The checkpoint that a run continues from, if it names one."""
        if not request.resume_from:
            return None
        origin = self.locked(session, request.resume_from)  # it must not fail or be cancelled meanwhile
        if origin.state in WITHOUT_CHECKPOINT:
            raise Conflict(f"run {origin.run_id} is {origin.state}; its checkpoints are not kept")
        if origin.last_checkpoint is None:
            raise Conflict(f"run {origin.run_id} has no checkpoint to resume from")
        check_resumable(open_checkpoint(self.ports.blobs, origin.last_checkpoint), request)
        return origin.last_checkpoint


def record_checkpoint(_session: Session, run: RunRow, saved: SavedCheckpoint) -> None:
    """Record a stored checkpoint and the metrics so far."""
    run.checkpoint, run.epochs = saved.checkpoint, saved.epochs
    run.best_checkpoint, run.last_checkpoint = saved.best_checkpoint, saved.last_checkpoint
    if saved.kept is not None:
        others = [kept for kept in run.checkpoints if kept.epoch != saved.kept]
        run.checkpoints = [*others, KeptCheckpoint(epoch=saved.kept, checkpoint=saved.last_checkpoint)]


def check_resumable(checkpoint: CheckpointManifest, request: StartRunRequest) -> None:
    """Raise InvalidInput unless a run can continue from a checkpoint: its weights and optimizer state must fit, and in
    the middle of an epoch also the order of the patches."""
    settings = request.settings
    if checkpoint.resume is None:
        raise InvalidInput(f"run {checkpoint.run_id} was imported as weights alone; a run cannot resume from it")
    if checkpoint.epoch >= settings.epochs:
        raise InvalidInput(f"run {checkpoint.run_id} has done {checkpoint.epoch} epochs, all that are requested")
    found = checkpoint.settings | {
        "dataset_id": checkpoint.dataset_id,
        "transform_input": checkpoint.transform_input,
        "channels": checkpoint.preprocessing.channels,
    }
    wanted = settings.model_dump() | {
        "dataset_id": request.dataset_id,
        "transform_input": transforms_input(settings.architecture, settings.weights),
    }
    same = ("dataset_id", "architecture", "semantics", "transform_input", "image_size", "channels", "optimizer")
    names = (*same, *(ORDERING if checkpoint.step else ()))
    faults = [
        f"{name} {quoted(wanted[name])}, expected {quoted(found[name])}"
        for name in names
        if wanted[name] != found[name]
    ]
    if faults:
        raise InvalidInput(f"a run cannot resume from run {checkpoint.run_id} with {'; '.join(faults)}")


def check_network(settings: RunSettings) -> None:
    """Raise InvalidInput for a network that does not exist, or that takes no images of the requested size."""
    size = native_preprocessing(settings.architecture, settings.image_size).size
    check_layers(build_skeleton(settings.architecture, 2, settings.semantics, settings.channels), {}, size)


def run_row(session: Session, run_id: str) -> RunRow:
    """The record of a run. NotFound if there is none."""
    return get_row(session, RunRow, run_id, "run")
