"""Runs: queued, trained slice by slice, completed with a checkpoint; or imported as complete."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from primitives.training.v1 import events_pb2
from sqlalchemy import select
from sqlalchemy.orm import Session
from torch import Tensor

from services import __version__
from services.common.blobs import ObjectRef
from services.common.errors import Conflict, InvalidInput, NotFound
from services.common.identity import derived_id, new_id
from services.common.observability.metrics import IMAGES_TRAINED, counted
from services.common.records import Lease, ProgressWriter
from services.common.work.tasks import Tasks
from services.imaging.architectures import (
    build_skeleton,
    native_preprocessing,
    transforms_input,
    without_auxiliary,
)
from services.imaging.capture import check_layers
from services.imaging.checkpoint import CheckpointManifest, load_weights, open_checkpoint, pack, read_weights
from services.imaging.manifests import put_content
from services.training.events import run_completed
from services.training.job import BUCKET
from services.training.original import OriginalCheckpoint, OriginalNetwork, read_checkpoint, resume_state
from services.training.schemas import DatasetView, RunList, RunSettings, RunView, StartRunRequest
from services.training.settings import TrainingSettings
from services.training.tables import WITHOUT_CHECKPOINT, DatasetRow, RunRow
from services.training.workflow.datasets import JOBS_QUEUE, dataset_row

SAVE_S = 120.0
"""Seconds that a paused run has to save its checkpoint. It steps no more from the first of them on; a network of some
GB goes slowly to an object store that is far away."""

ORDERING = ("seed", "batch_size", "accumulate_steps", "balance")
"""The settings that say which patches a step of an epoch has."""


@dataclass
class Runs(Tasks[RunRow]):
    """The use cases of runs."""

    settings: TrainingSettings

    noun: ClassVar[str] = "run"
    table: ClassVar[type[RunRow]] = RunRow

    def start(self, request: StartRunRequest) -> RunView:
        """Queue a run. InvalidInput if it cannot go on from the run that it names, Conflict if that has no
        checkpoint."""
        check_network(request.settings)
        run_id = new_id("run")
        with self.ports.records.transaction() as session:
            dataset_row(session, request.dataset_id)
            origin = self._origin(session, request)
            self.queue(session, run_id, "", request.dataset_id, request.settings)
            run_row(session, run_id).last_checkpoint = origin
        return self.get(run_id)

    def train_slice(self, command: events_pb2.TrainSlice) -> None:
        """Handle TrainSlice: work until the run is complete, its slice of time is over or it is paused, then tell, hand
        on or do nothing: whoever resumes it asks for the next slice."""
        with self.ports.leases.hold(command.run_id) as lease:
            with self.ports.records.transaction() as session:
                run = self.locked(session, command.run_id)
                if not run.active or command.slice < run.slices:
                    return
                run.begin()
                arguments = self._slice_arguments(run, dataset_row(session, run.dataset_id))
            complete = self.run(
                command.run_id,
                "services.training.job:train_slice",
                arguments,
                counted(
                    IMAGES_TRAINED, "training", ProgressWriter(self.ports.records, RunRow, command.run_id), "images"
                ),
                lambda facts: self._keep_checkpoint(lease, command.run_id, facts),
                pause_s=SAVE_S,
            )
            if complete is None:
                return
            with self.ports.records.transaction() as session:
                lease.check(session)
                self._end_slice(session, self.locked(session, command.run_id), command.slice, complete)

    def _end_slice(self, session: Session, run: RunRow, slice_: int, complete: bool) -> None:
        if run.ended:
            return
        run.slices = slice_ + 1  # whoever else was asked for this slice, as by a resume meanwhile, finds it done
        if run.state == "paused":
            return
        if complete:
            run.end("completed")
            self.publish_completed(session, run)
        else:
            self.enqueue(session, run)

    def train_failed(self, command: events_pb2.TrainSlice, reason: str) -> None:
        """TrainSlice was given up."""
        with self.ports.records.transaction() as session:
            self.fail_or_cancel(session, self.locked(session, command.run_id), "failed", reason)

    def import_checkpoint(
        self, path: Path, architecture: str, dataset_id: str, image_size: int, channels: int = 3
    ) -> RunView:
        """Take weights trained elsewhere as a completed run on a registered data set, whose classes they predict.

        InvalidInput when they do not fit the architecture, with the names of the keys that do not.
        """
        if channels not in (1, 3):
            raise InvalidInput(f"{channels} channels; expected 1 or 3")
        settings = RunSettings(
            architecture=architecture, weights="none", image_size=image_size, channels=1 if channels == 1 else 3
        )
        return self._import(self._dataset(dataset_id), settings, read_weights(path), path)

    def import_original(self, path: Path, network: OriginalNetwork, dataset_id: str) -> RunView:
        """Take a checkpoint file of the original as a completed run, which another run can go on from.

        InvalidInput as `import_checkpoint`, and if `network` has another number of classes than the data set.
        """
        dataset = self._dataset(dataset_id)
        network.require_classes(dataset.classes, dataset_id)
        checkpoint = read_checkpoint(path)
        settings = network.settings(epochs=max(checkpoint.epoch, 1))
        return self._import(dataset, settings, checkpoint.weights, path, checkpoint)

    def _dataset(self, dataset_id: str) -> DatasetView:
        with self.ports.records.reading() as session:
            return DatasetView.model_validate(dataset_row(session, dataset_id))

    def _import(
        self,
        dataset: DatasetView,
        settings: RunSettings,
        weights: dict[str, Tensor],
        path: Path,
        original: OriginalCheckpoint | None = None,
    ) -> RunView:
        """Store weights, and the optimizer's state of one of the original's checkpoints, as a completed run."""
        weights = without_auxiliary(settings.architecture, weights)
        network = build_skeleton(settings.architecture, len(dataset.classes), settings.semantics, settings.channels)
        load_weights(network, weights, str(path), check_only=True)
        run_id = new_id("run")
        folder = f"checkpoints/{run_id}"
        resume: ObjectRef | None = None
        plain: dict[str, Any] = {}
        if original is not None:
            tensors, plain = resume_state(original, network, settings)
            resume = put_content(self.ports.blobs, BUCKET, f"{folder}/resume.safetensors", pack(tensors))
        manifest = CheckpointManifest(
            checkpoint_id=derived_id("checkpoint", run_id),
            run_id=run_id,
            architecture=settings.architecture,
            semantics=settings.semantics,
            transform_input=transforms_input(settings.architecture, settings.weights),
            classes=tuple(dataset.classes),
            preprocessing=native_preprocessing(settings.architecture, settings.image_size, settings.channels),
            dataset_id=dataset.dataset_id,
            epoch=original.epoch if original is not None else 0,
            step=0,
            settings=settings.model_dump(),
            code_version=__version__,
            weights=put_content(self.ports.blobs, BUCKET, f"{folder}/weights.safetensors", pack(weights)),
            resume=resume,
            resume_state=plain,
        )
        ref = put_content(
            self.ports.blobs, BUCKET, f"{folder}/checkpoint.json", manifest.model_dump_json(indent=1).encode()
        )
        self._record_import(run_id, dataset.dataset_id, settings, ref)
        return self.get(run_id)

    def _record_import(self, run_id: str, dataset_id: str, settings: RunSettings, ref: ObjectRef) -> None:
        with self.ports.records.transaction() as session:
            run = RunRow(run_id=run_id, dataset_id=dataset_id, settings=settings.model_dump())
            run.state, run.checkpoint, run.last_checkpoint = "queued", ref.model_dump(), ref.model_dump()
            run.end("completed")
            session.add(run)
            session.flush()
            self.publish_completed(session, run)

    def all(self) -> RunList:
        """All runs, newest first."""
        with self.ports.records.reading() as session:
            rows = session.scalars(select(RunRow).order_by(RunRow.created.desc())).all()
            return RunList(runs=[RunView.model_validate(row) for row in rows])

    def get(self, run_id: str) -> RunView:
        """One run."""
        with self.ports.records.reading() as session:
            return RunView.model_validate(run_row(session, run_id))

    def queue(self, session: Session, run_id: str, plan_id: str, dataset_id: str, settings: RunSettings) -> None:
        """Have a run trained, unless it is known already."""
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

    def _slice_arguments(self, run: RunRow, dataset: DatasetRow) -> dict[str, Any]:
        return {
            "blobs_url": self.ports.blobs.url,
            "scratch": str(self.settings.shared.scratch()),
            "run_id": run.run_id,
            "dataset": dataset.manifest,
            "settings": run.settings,
            "checkpoint": run.last_checkpoint,
            "slice_s": self.settings.slice_s,
            "cache_mb": self.settings.cache_mb,
            "device": self.settings.shared.device,
            "processes": self.settings.processes,
            "nodes": self.settings.nodes,
            "rendezvous": self.settings.rendezvous,
        }

    def _keep_checkpoint(self, lease: Lease, run_id: str, facts: dict[str, Any]) -> None:
        with self.ports.records.transaction() as session:
            lease.check(session)
            run = run_row(session, run_id)
            run.checkpoint, run.epochs = facts["checkpoint"], facts["epochs"]
            run.best_checkpoint, run.last_checkpoint = facts["best_checkpoint"], facts["last_checkpoint"]
            if facts.get("kept") is not None:
                others = [kept for kept in run.checkpoints if kept["epoch"] != facts["kept"]]
                run.checkpoints = [*others, {"epoch": facts["kept"], "checkpoint": facts["last_checkpoint"]}]

    def _origin(self, session: Session, request: StartRunRequest) -> dict[str, Any] | None:
        """The checkpoint that a run goes on from, if it names one."""
        if not request.resume_from:
            return None
        origin = self.locked(session, request.resume_from)  # so that it does not end badly meanwhile
        if origin.state in WITHOUT_CHECKPOINT:
            raise Conflict(f"run {origin.run_id} is {origin.state}; its checkpoints are not kept")
        if origin.last_checkpoint is None:
            raise Conflict(f"run {origin.run_id} has no checkpoint to go on from")
        checkpoint = open_checkpoint(self.ports.blobs, ObjectRef.model_validate(origin.last_checkpoint))
        check_resumable(checkpoint, request)
        return origin.last_checkpoint


def check_resumable(checkpoint: CheckpointManifest, request: StartRunRequest) -> None:
    """InvalidInput if what a run keeps from a checkpoint does not fit it: weights, moments of the optimizer, and in the
    middle of an epoch which patches are done."""
    settings = request.settings
    if checkpoint.resume is None:
        raise InvalidInput(f"run {checkpoint.run_id} was imported as weights alone; a run cannot go on from it")
    if checkpoint.epoch >= settings.epochs:
        raise InvalidInput(f"run {checkpoint.run_id} has done {checkpoint.epoch} epochs, all that are asked for")
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
    faults = [f"{name} {wanted[name]!r}, expected {found[name]!r}" for name in names if wanted[name] != found[name]]
    if faults:
        raise InvalidInput(f"a run cannot go on from run {checkpoint.run_id} with {'; '.join(faults)}")


def check_network(settings: RunSettings) -> None:
    """InvalidInput for a network that does not exist, or takes no images of the size that is wished for."""
    size = native_preprocessing(settings.architecture, settings.image_size).size
    check_layers(build_skeleton(settings.architecture, 2, settings.semantics, settings.channels), {}, size)


def run_row(session: Session, run_id: str) -> RunRow:
    """The record of a run."""
    row = session.get(RunRow, run_id)
    if row is None:
        raise NotFound(f"there is no run {run_id!r}")
    return row
