"""What the training service's child process does: build the sample, train one slice."""

import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors

from services import __version__
from services.common.blobs import Blobs, ObjectRef, open_blobs
from services.common.blobs.port import read_verified
from services.common.errors import InvalidInput
from services.common.identity import derived_id
from services.common.jobs import Job
from services.imaging.architectures import build_network, choose_device, native_preprocessing
from services.imaging.checkpoint import CheckpointManifest, fill, open_checkpoint, pack
from services.imaging.dataset import Dataset, LocalPatches
from services.imaging.dataset_writer import DatasetWriter
from services.imaging.manifests import put_content
from services.training.batches import Batches
from services.training.loop import Learner, build_optimizer, fit, restore, resume_tensors
from services.training.sample import (
    SAMPLE_CLASSES,
    SAMPLE_NOTICE,
    VARIANTS,
    sample_files,
    sample_mammograms_and_patches,
)
from services.training.schemas import EpochMetrics, RunSettings

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
            job.leave_if_told()
        manifest, ref = writer.finish()
    return {"manifest": manifest.model_dump(), "ref": ref.model_dump()}


def train_slice(
    job: Job,
    *,
    blobs_url: str,
    scratch: str,
    run_id: str,
    dataset: dict[str, Any],
    settings: dict[str, Any],
    checkpoint: dict[str, Any] | None,
    slice_s: float,
    cache_mb: int,
    device: str,
) -> bool:
    """Go on with a run for at most `slice_s` seconds or until it is paused; True when it is complete. Each checkpoint
    is a milestone."""
    blobs = open_blobs(blobs_url)
    data = Dataset.open(blobs, ObjectRef.model_validate(dataset))
    learner = start_learner(RunSettings.model_validate(settings), len(data.manifest.classes), choose_device(device))
    if checkpoint is not None:
        resume(blobs, learner, open_checkpoint(blobs, ObjectRef.model_validate(checkpoint)))
    split = {
        name: Batches(
            data,
            LocalPatches(data, blobs, name, Path(scratch)),
            learner.preprocessing,
            learner.settings.batch_size,
            cache_mb << 20,
        )
        for name in ("train", "val")
        if name in data.manifest.splits
    }
    if "train" not in split:
        raise InvalidInput(f"data set {data.manifest.name} has no split train to train on")

    def save() -> None:
        ref = save_checkpoint(blobs, learner, run_id, data)
        epochs = [metrics.model_dump() for metrics in learner.metrics]
        job.milestone(checkpoint=ref.model_dump(), epochs=epochs)

    deadline = time.monotonic() + slice_s
    return fit(learner, split["train"], split.get("val"), deadline, job.report, save, job.paused)


def start_learner(settings: RunSettings, classes: int, device: torch.device) -> Learner:
    """A learner at its first step, seeded."""
    torch.manual_seed(settings.seed)
    network = build_network(settings.architecture, classes, settings.weights)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    preprocessing = native_preprocessing(settings.architecture, settings.image_size)
    return Learner(network, build_optimizer(network, settings), settings, preprocessing, device)


def resume(blobs: Blobs, learner: Learner, checkpoint: CheckpointManifest) -> None:
    """Put a learner where a checkpoint of its run left off."""
    if checkpoint.resume is None:
        raise InvalidInput(f"checkpoint {checkpoint.checkpoint_id} was imported and holds nothing to resume from")
    source = f"checkpoint {checkpoint.checkpoint_id}"
    fill(learner.network, load_tensors(read_verified(blobs, checkpoint.weights)), source)
    restore(learner, load_tensors(read_verified(blobs, checkpoint.resume)), checkpoint.resume_state)
    learner.epoch, learner.step = checkpoint.epoch, checkpoint.step
    learner.metrics = [EpochMetrics.model_validate(values) for values in checkpoint.metrics]


def save_checkpoint(blobs: Blobs, learner: Learner, run_id: str, data: Dataset) -> ObjectRef:
    """Store all of a learner; the manifest, whose reference is returned, comes last."""
    checkpoint_id = derived_id("checkpoint", run_id, str(learner.epoch), str(learner.step))
    folder = f"checkpoints/{run_id}/{checkpoint_id}"
    tensors, plain = resume_tensors(learner)
    manifest = CheckpointManifest(
        checkpoint_id=checkpoint_id,
        run_id=run_id,
        architecture=learner.settings.architecture,
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
    )
    body = manifest.model_dump_json(indent=1).encode()
    return put_content(blobs, BUCKET, f"{folder}/checkpoint.json", body)
