"""A run whose child is killed ends like a run that was not interrupted."""

import itertools
import multiprocessing
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load as load_tensors

from services.common.blobs import FolderBlobs, ObjectRef
from services.common.blobs.port import read_verified
from services.common.errors import JobCrashed
from services.common.work import runner as runner_module
from services.common.work.jobs import Job, JobFunction
from services.common.work.runner import JobRunner
from services.imaging.checkpoint import CheckpointManifest, open_checkpoint
from services.training.job import train_slice
from services.training.schemas import RunSettings
from services.training.specs import SavedCheckpoint, SliceSpec
from tests.fakes.data import store_dataset

KILLS = 10
SETTINGS = RunSettings(
    architecture="test_resnet",
    weights="none",
    image_size=64,
    epochs=40,
    batch_size=8,
    accumulate_steps=2,
    clip_norm=1.0,
    learning_rate=0.01,
    warmup_steps=5,
    balance="sampling",
    rotation=15,
    contrast=0.2,
    brightness=0.1,
    patience=6,
)


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Iterator[JobRunner]:
    """A runner whose children are forked from a server that has imported torch. Eleven imports would take a minute."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["services.training.job"])
    monkeypatch.setattr(runner_module.multiprocessing, "get_context", lambda _: context)
    runner = JobRunner("killed")
    yield runner
    runner.close()


class DeadlySpec(SliceSpec):
    """A slice whose child is killed after step `kill_at`, unless that is -1."""

    kill_at: int


TRAIN_AND_DIE: JobFunction[DeadlySpec, bool, SavedCheckpoint] = JobFunction(f"{__name__}:train_and_die")


@TRAIN_AND_DIE.implements
def train_and_die(job: Job[SavedCheckpoint], spec: DeadlySpec) -> bool:
    """Train a slice in the child, and kill the child after a step."""
    steps = itertools.count(1)
    report_progress = job.report

    def report(**progress: Any) -> None:
        report_progress(**progress)
        if next(steps) == spec.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    job.report = report  # type: ignore[method-assign]
    return train_slice(job, spec)


class Run:
    """A run that a child trains in slices. The child may be killed."""

    def __init__(self, folder: Path, runner: JobRunner) -> None:
        self.blobs = FolderBlobs(folder / "blobs")
        _, self.dataset = store_dataset(self.blobs, folder / "ddsm", {"train": 41, "val": 12})
        self.folder, self.runner = folder, runner
        self.last: ObjectRef | None = None

    def slice(self, slice_s: float = 600.0, kill_at: int = -1) -> bool:
        """Train one slice. Return whether the run is complete. The child is killed after its step `kill_at`."""
        spec = DeadlySpec(
            blobs_url=self.blobs.url,
            scratch=str(self.folder),
            run_id="run-1",
            dataset=self.dataset,
            settings=SETTINGS,
            checkpoint=self.last,
            slice_s=slice_s,
            cache_mb=16,
            device="cpu",
            kill_at=kill_at,
        )
        return self.runner.run(TRAIN_AND_DIE, spec, on_milestone=self.record)

    def record(self, saved: SavedCheckpoint) -> None:
        """Record a checkpoint."""
        self.last = saved.last_checkpoint

    def result(self) -> tuple[CheckpointManifest, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """The manifest of the last checkpoint, its weights, and its state for resuming."""
        assert self.last is not None
        manifest = open_checkpoint(self.blobs, self.last)
        assert manifest.resume is not None
        weights, resume = (read_verified(self.blobs, ref) for ref in (manifest.weights, manifest.resume))
        return manifest, load_tensors(weights), load_tensors(resume)

    def best_epoch(self) -> int:
        """The number of epochs that were done when the best checkpoint was saved."""
        manifest = self.result()[0]
        return manifest.epoch if manifest.best is None else open_checkpoint(self.blobs, manifest.best).epoch


def test_a_run_killed_ten_times_ends_like_an_uninterrupted_one(tmp_path: Path, runner: JobRunner) -> None:
    """The child is killed at random steps, also in slices that began within an epoch. Weights, optimizer and metrics
    have the same bits, with accumulated gradients, balanced sampling, augmentation and early stopping."""
    alone, killed = Run(tmp_path / "alone", runner), Run(tmp_path / "killed", runner)
    assert alone.slice() is True
    draw = random.Random(20)
    for _ in range(KILLS):
        for _ in range(draw.randint(0, 2)):
            assert killed.slice(slice_s=0.0) is False, "one step and a checkpoint"
        with pytest.raises(JobCrashed):
            killed.slice(kill_at=draw.randint(1, 6))
    assert killed.slice() is True
    expected, found = alone.result(), killed.result()
    for tensors, others in zip(expected[1:], found[1:], strict=True):
        assert tensors.keys() == others.keys()
        assert [name for name in tensors if not torch.equal(tensors[name], others[name])] == []
    assert metrics(found[0]) == metrics(expected[0])
    assert (found[0].epoch, found[0].step, killed.best_epoch()) == (expected[0].epoch, 0, alone.best_epoch())
    print(f"stopped after {expected[0].epoch} epochs, best {alone.best_epoch()}")
    assert SETTINGS.patience < expected[0].epoch < SETTINGS.epochs, "it stopped early"


def metrics(manifest: CheckpointManifest) -> list[dict[str, Any]]:
    """The metrics of all epochs without the seconds."""
    return [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in manifest.metrics]
