"""What the training service's child process does: build the sample, train one slice."""

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors

from services import __version__
from services.common.blobs import Blobs, ObjectRef, open_blobs
from services.common.blobs.port import read_verified
from services.common.errors import InvalidInput
from services.common.identity import derived_id
from services.common.machine.memory import kept_memory
from services.common.work.jobs import Job
from services.imaging.architectures import transforms_input
from services.imaging.checkpoint import CheckpointManifest, load_weights, open_checkpoint, pack
from services.imaging.dataset import Dataset, LocalPatches
from services.imaging.dataset_writer import DatasetWriter
from services.imaging.devices import choose_device
from services.imaging.manifests import put_content
from services.training.batches import Batches
from services.training.distributed import Team
from services.training.evaluation.evaluate import evaluate_checkpoint
from services.training.evaluation.schemas import EvaluationSettings
from services.training.launch import train_together
from services.training.learner import Learner, restore, resume_tensors, start_learner
from services.training.loop import fit
from services.training.sample_dataset import (
    SAMPLE_CLASSES,
    SAMPLE_NOTICE,
    VARIANTS,
    sample_files,
    sample_mammograms_and_patches,
)
from services.training.schedule import best_epoch
from services.training.schemas import EpochMetrics, RunSettings
from services.training.tensorboard import event_bytes

BUCKET = "training"
SAMPLE_SHARD_PATCHES = 256
"""Patches a shard of the sample: small, so that a plan over it shows the same parallel work as one over millions."""


def build_sample(job: Job, *, blobs_url: str) -> dict[str, Any]:
    """Store the sample data set; returns its manifest and a reference to it."""
    with DatasetWriter(
        open_blobs(blobs_url),
        BUCKET,
        "sample",
        SAMPLE_CLASSES,
        notice=SAMPLE_NOTICE,
        shard_patches=SAMPLE_SHARD_PATCHES,
    ) as writer:
        total = len(sample_files()) * VARIANTS
        for done, sample in enumerate(sample_mammograms_and_patches(), 1):
            writer.add_mammogram(sample.mammogram, sample.lesions)
            for patch in sample.patches:
                writer.add_patch(patch)
            job.report(phase="cutting patches", done=done, total=total, unit="mammograms")
            job.stop_if_requested()
        manifest, ref = writer.finish()
    return {"manifest": manifest.model_dump(), "ref": ref.model_dump()}


def evaluate(
    job: Job,
    *,
    blobs_url: str,
    evaluation_id: str,
    dataset: dict[str, Any],
    checkpoint: dict[str, Any],
    split: str,
    settings: dict[str, Any],
    device: str,
) -> dict[str, Any]:
    """Evaluate a checkpoint on a split; returns a reference to the manifest."""

    def on_patches(done: int, total: int) -> None:
        job.report(phase="predicting", done=done, total=total, unit="patches")
        job.stop_if_requested()

    manifest = evaluate_checkpoint(
        open_blobs(blobs_url),
        BUCKET,
        evaluation_id,
        ObjectRef.model_validate(dataset),
        ObjectRef.model_validate(checkpoint),
        split,
        EvaluationSettings.model_validate(settings),
        choose_device(device),
        on_patches,
    )
    return manifest.model_dump()


def train_slice(
    job: Job, *, processes: int = 1, nodes: int = 1, rendezvous: str = "127.0.0.1:29400", **arguments: Any
) -> bool:
    """As `train_part`, by as many processes as the settings of the service say."""
    if processes * nodes > 1:
        return train_together(job, arguments, processes, nodes, rendezvous)
    return train_part(job, Team(), choose_device(arguments.pop("device")), **arguments)


def train_part(
    job: Job,
    team: Team,
    where: torch.device,
    *,
    blobs_url: str,
    scratch: str,
    run_id: str,
    dataset: dict[str, Any],
    settings: dict[str, Any],
    checkpoint: dict[str, Any] | None,
    slice_s: float,
    cache_mb: int,
) -> bool:
    """Go on with a run for at most `slice_s` seconds or until it is paused; True when it is complete. Each checkpoint
    is a milestone, and tells the best so far and which of the two later stages use."""
    blobs = open_blobs(blobs_url)
    data = Dataset.open(blobs, ObjectRef.model_validate(dataset))
    resumed = checkpoint is not None
    learner = start_learner(RunSettings.model_validate(settings), len(data.manifest.classes), where, team, resumed)
    if checkpoint is not None:
        resume(blobs, learner, ObjectRef.model_validate(checkpoint))
    split = {
        name: Batches(
            data,
            LocalPatches(data, blobs, name, Path(scratch)),
            learner.preprocessing,
            learner.settings.batch_size,
            cache_mb << 20,
            learner.settings.accumulate_steps,
            team,
        )
        for name in ("train", "val")
        if name in data.manifest.splits
    }
    if "train" not in split:
        raise InvalidInput(f"data set {data.manifest.name} has no split train to train on")

    def save() -> None:
        if team.leads:
            last = save_checkpoint(blobs, learner, run_id, data)
            best = learner.best or last
            kept = best if learner.settings.keep == "best" else last
            job.milestone(
                checkpoint=kept.model_dump(),
                best_checkpoint=best.model_dump(),
                last_checkpoint=last.model_dump(),
                kept=epoch_to_keep(learner),
                epochs=[metrics.model_dump() for metrics in learner.metrics],
            )

    deadline = time.monotonic() + slice_s
    with kept_memory() if where.type == "cpu" else nullcontext():
        return fit(learner, split["train"], split.get("val"), deadline, job.report, save, job.paused)


def epoch_to_keep(learner: Learner) -> int | None:
    """The number of epochs done, where the settings have the checkpoint after them kept; else None."""
    every = learner.settings.checkpoint_epochs
    return learner.epoch if every and learner.step == 0 and learner.epoch % every == 0 else None


def resume(blobs: Blobs, learner: Learner, ref: ObjectRef) -> None:
    """Put a learner where a checkpoint left off."""
    checkpoint = open_checkpoint(blobs, ref)
    if checkpoint.resume is None:
        raise InvalidInput(f"checkpoint {checkpoint.checkpoint_id} was imported and holds nothing to resume from")
    source = f"checkpoint {checkpoint.checkpoint_id}"
    load_weights(learner.network, load_tensors(read_verified(blobs, checkpoint.weights)), source)
    restore(learner, load_tensors(read_verified(blobs, checkpoint.resume)), checkpoint.resume_state)
    learner.epoch, learner.step = checkpoint.epoch, checkpoint.step
    learner.metrics = [EpochMetrics.model_validate(values) for values in checkpoint.metrics]
    learner.best = checkpoint.best or ref


def save_checkpoint(blobs: Blobs, learner: Learner, run_id: str, data: Dataset) -> ObjectRef:
    """Store all of a learner; the manifest, whose reference is returned, comes last. After an epoch that is the best so
    far, or before the first has ended, this is the best checkpoint too."""
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
    )
    body = manifest.model_dump_json(indent=1).encode()
    ref = put_content(blobs, BUCKET, f"{folder}/checkpoint.json", body)
    learner.best = learner.best or ref
    return ref
