"""The jobs of the training service: build the sample data set, import a folder, train a slice of a run."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from threading import Lock

import torch
from safetensors.torch import load as load_tensors

from services import __version__
from services.common.blobs import Blobs, ObjectRef, open_blobs
from services.common.blobs.port import read_verified
from services.common.errors import InvalidInput
from services.common.identity import derived_id
from services.common.machine.memory import retain_freed_memory
from services.common.work.jobs import Job
from services.imaging.architectures import transforms_input
from services.imaging.checkpoint import CheckpointManifest, load_weights, open_checkpoint, pack
from services.imaging.dataset import Dataset, LocalPatches
from services.imaging.devices import choose_device
from services.imaging.manifests import put_content
from services.training.batches import Batches, Batching
from services.training.distributed import Team
from services.training.importer import ImportSource, import_directory
from services.training.launch import train_together
from services.training.learner import Learner, restore, resume_tensors, start_learner
from services.training.loop import Callbacks, fit
from services.training.names import BUCKET
from services.training.raw.importing import assemble, cut_part, plan_import
from services.training.raw.layouts.sample.layout import SAMPLE_RECIPE, Sample
from services.training.raw.layouts.sample.views import sample_folder
from services.training.raw.plan import ImportPlan, Source, discard
from services.training.schedule import best_epoch
from services.training.schemas import EpochMetrics
from services.training.specs import (
    BUILD_SAMPLE,
    IMPORT_FOLDER,
    TRAIN_SLICE,
    BuildSpec,
    BuiltDataset,
    ImportSpec,
    SavedCheckpoint,
    SliceSpec,
)
from services.training.tensorboard import event_bytes

SAMPLE_THREADS = 2
"""Pillow and SciPy release the interpreter lock, so threads help."""

REPORT_PATCHES = 50
"""Patches between two reports of an import."""


@BUILD_SAMPLE.implements
def build_sample(job: Job, spec: BuildSpec) -> BuiltDataset:
    """Import the sample data set from raw DICOM files."""

    def on_read(done: int, _total: int) -> None:
        job.report(done, phase="reading mammograms", unit="mammograms")
        job.stop_if_requested()

    blobs = open_blobs(spec.blobs_url)
    source = Source(layout=Sample.name, folder=sample_folder())
    plan = plan_import(blobs, Sample.name, source, SAMPLE_RECIPE, spec.build_id, on_read)
    try:
        cut_sample(blobs, plan, job)
        manifest, ref, _ = assemble(blobs, plan)
    finally:
        discard(blobs, plan)
    return BuiltDataset(manifest=manifest, ref=ref)


def cut_sample(blobs: Blobs, plan: ImportPlan, job: Job) -> None:
    """Cut all parts of the sample's import, several at a time."""
    done = 0
    lock = Lock()  # a job's connection is not safe to use from several threads

    def on_mammogram(_done: int, _total: int) -> None:
        nonlocal done
        with lock:
            done += 1
            job.report(done, plan.mammograms, phase="cutting patches", unit="mammograms")
            job.stop_if_requested()

    with ThreadPoolExecutor(SAMPLE_THREADS) as pool:
        parts = [pool.submit(cut_part, blobs, plan, number, on_mammogram) for number in range(len(plan.parts))]
        for part in parts:
            part.result()


@IMPORT_FOLDER.implements
def import_folder(job: Job, spec: ImportSpec) -> BuiltDataset:
    """Store the data set of a folder."""

    def on_patch(done: int, total: int) -> None:
        if done % REPORT_PATCHES == 0 or done == total:
            job.report(done, total, phase="importing patches", unit="patches")
        job.stop_if_requested()

    source = ImportSource(spec.directory, spec.classes, spec.mammograms)
    manifest, ref = import_directory(open_blobs(spec.blobs_url), BUCKET, source, on_patch)
    return BuiltDataset(manifest=manifest, ref=ref)


@TRAIN_SLICE.implements
def train_slice(job: Job[SavedCheckpoint], spec: SliceSpec) -> bool:
    """Train a slice in this process, or in the number of processes of the spec. Return whether the run is complete."""
    if spec.processes * spec.nodes > 1:
        return train_together(job, spec)
    return train_part(job, Team(), choose_device(spec.device), spec)


def train_part(job: Job[SavedCheckpoint], team: Team, device: torch.device, spec: SliceSpec) -> bool:
    """Train one process's part of a slice. Return whether the run is complete."""
    blobs = open_blobs(spec.blobs_url)
    data = Dataset.open(blobs, spec.dataset)
    learner = start_learner(spec.settings, len(data.manifest.classes), device, team, spec.checkpoint is not None)
    if spec.checkpoint is not None:
        resume(blobs, learner, spec.checkpoint)
    batches = open_batches(blobs, data, learner, spec)

    def save() -> None:
        if team.leads:
            job.milestone(save_milestone(blobs, learner, spec.run_id, data))

    deadline = time.monotonic() + spec.slice_s
    with retain_freed_memory() if device.type == "cpu" else nullcontext():
        return fit(learner, batches["train"], batches.get("val"), deadline, Callbacks(job.report, save, job.paused))


def open_batches(blobs: Blobs, data: Dataset, learner: Learner, spec: SliceSpec) -> dict[str, Batches]:
    """Open the batches of the splits `train` and, if there is one, `val`. InvalidInput without a split `train`."""
    if "train" not in data.manifest.splits:
        raise InvalidInput(f"data set {data.manifest.name} has no split train to train on")
    batching = Batching(learner.settings.batch_size, learner.settings.accumulate_steps, spec.cache_mb << 20)
    return {
        split: Batches(
            data,
            LocalPatches(data, blobs, split, Path(spec.scratch)),
            learner.preprocessing,
            batching,
            learner.team,
        )
        for split in ("train", "val")
        if split in data.manifest.splits
    }


def save_milestone(blobs: Blobs, learner: Learner, run_id: str, data: Dataset) -> SavedCheckpoint:
    """Store a checkpoint, and report it with the best one and the metrics so far."""
    last = save_checkpoint(blobs, learner, run_id, data)
    best = learner.best or last
    return SavedCheckpoint(
        checkpoint=best if learner.settings.keep == "best" else last,
        best_checkpoint=best,
        last_checkpoint=last,
        kept=epoch_to_keep(learner),
        epochs=learner.metrics,
    )


def epoch_to_keep(learner: Learner) -> int | None:
    """The number of epochs done if the settings keep the checkpoint after them, else None."""
    every = learner.settings.checkpoint_epochs
    return learner.epoch if every and learner.step == 0 and learner.epoch % every == 0 else None


def resume(blobs: Blobs, learner: Learner, ref: ObjectRef) -> None:
    """Restore a learner from a checkpoint."""
    checkpoint = open_checkpoint(blobs, ref)
    if checkpoint.resume is None:
        raise InvalidInput(f"checkpoint {checkpoint.checkpoint_id} was imported and has no state to resume from")
    source = f"checkpoint {checkpoint.checkpoint_id}"
    load_weights(learner.network, load_tensors(read_verified(blobs, checkpoint.weights)), source)
    restore(learner, load_tensors(read_verified(blobs, checkpoint.resume)), checkpoint.resume_state)
    learner.epoch, learner.step = checkpoint.epoch, checkpoint.step
    learner.metrics = [EpochMetrics.model_validate(values) for values in checkpoint.metrics]
    learner.best = checkpoint.best or ref
    learner.terms = checkpoint.terms


def save_checkpoint(blobs: Blobs, learner: Learner, run_id: str, data: Dataset) -> ObjectRef:
    """Store the learner's state, and the manifest last; return the manifest's reference.

    The checkpoint is also the best one if its epoch is the best so far, or if no epoch has ended yet.
    """
    is_best = learner.step == 0 and best_epoch(learner.metrics, learner.settings.min_delta) == len(learner.metrics) - 1
    if is_best or not learner.metrics:
        learner.best = None
    checkpoint_id = derived_id("checkpoint", run_id, str(learner.epoch), str(learner.step))
    folder = f"checkpoints/{run_id}/{checkpoint_id}"
    tensors, plain = resume_tensors(learner)
    manifest = CheckpointManifest(
        checkpoint_id=checkpoint_id,
        run_id=run_id,
        architecture=learner.settings.architecture,
        semantics=learner.settings.semantics,
        transform_input=transforms_input(learner.settings.architecture, learner.settings.weights),
        classes=data.manifest.classes,
        preprocessing=learner.preprocessing,
        dataset_id=data.manifest.dataset_id,
        epoch=learner.epoch,
        step=learner.step,
        settings=learner.settings.model_dump(),
        code_version=__version__,
        weights=put_content(blobs, BUCKET, f"{folder}/weights.safetensors", pack(learner.network.state_dict())),
        resume=put_content(blobs, BUCKET, f"{folder}/resume.safetensors", pack(tensors)),
        resume_state=plain,
        metrics=[metrics.model_dump() for metrics in learner.metrics],
        best=learner.best,
        events=put_content(blobs, BUCKET, f"{folder}/events.tfevents", event_bytes(learner.metrics, time.time())),
        terms=tuple(sorted({*data.manifest.terms, *learner.terms})),
    )
    body = manifest.model_dump_json(indent=1).encode()
    ref = put_content(blobs, BUCKET, f"{folder}/checkpoint.json", body)
    learner.best = learner.best or ref
    return ref
