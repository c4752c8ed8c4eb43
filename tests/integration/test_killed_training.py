"""A run whose child is killed ends as the run that was left alone."""

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
from services.common.work import jobs
from services.common.work.jobs import Job, JobRunner
from services.imaging.checkpoint import CheckpointManifest, open_checkpoint
from services.training.job import train_slice
from services.training.schemas import RunSettings
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
    """A runner whose children are forked by a server that has imported torch: eleven of them would take a minute."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["services.training.job"])
    monkeypatch.setattr(jobs.multiprocessing, "get_context", lambda _: context)
    runner = JobRunner("killed")
    yield runner
    runner.close()


def train_and_die(job: Job, *, kill_at: int, **arguments: Any) -> bool:
    """What the child does: train, and be killed after a step, unless `kill_at` is -1."""
    steps = itertools.count(1)
    tell = job.report

    def report(**progress: Any) -> None:
        tell(**progress)
        if next(steps) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    job.report = report  # type: ignore[method-assign]
    return train_slice(job, **arguments)


class Run:
    """A run that is trained in slices by a child, which may be killed."""

    def __init__(self, folder: Path, runner: JobRunner) -> None:
        self.blobs = FolderBlobs(folder / "blobs")
        _, dataset = store_dataset(self.blobs, folder / "ddsm", {"train": 41, "val": 12})
        self.runner = runner
        self.last: dict[str, Any] | None = None
        self.arguments = {
            "blobs_url": self.blobs.url,
            "scratch": str(folder),
            "run_id": "run-1",
            "dataset": dataset.model_dump(),
            "settings": SETTINGS.model_dump(),
            "cache_mb": 16,
            "device": "cpu",
        }

    def slice(self, slice_s: float = 600.0, kill_at: int = -1) -> bool:
        """One slice; True if the run is complete. The child is killed after its step `kill_at`."""
        arguments = self.arguments | {"checkpoint": self.last, "slice_s": slice_s, "kill_at": kill_at}
        target = f"{__name__}:train_and_die"
        return bool(self.runner.run(target, arguments, lambda _: None, on_milestone=self.keep))

    def keep(self, facts: dict[str, Any]) -> None:
        """Remember a checkpoint."""
        self.last = facts["last_checkpoint"]

    def result(self) -> tuple[CheckpointManifest, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """The last checkpoint: its manifest, its weights, and what resuming needs."""
        manifest = open_checkpoint(self.blobs, ObjectRef.model_validate(self.last))
        assert manifest.resume is not None
        weights, resume = (read_verified(self.blobs, ref) for ref in (manifest.weights, manifest.resume))
        return manifest, load_tensors(weights), load_tensors(resume)

    def best_epoch(self) -> int:
        """The epochs that were done when the best checkpoint was saved."""
        manifest = self.result()[0]
        return manifest.epoch if manifest.best is None else open_checkpoint(self.blobs, manifest.best).epoch


def test_killed_ten_times_it_ends_as_if_left_alone(tmp_path: Path, runner: JobRunner) -> None:
    """Killed at random steps, also of slices that began in mid-epoch: weights, optimizer and metrics are the same bits,
    with accumulated gradients, balanced sampling, augmentation and early stopping."""
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
    """Those of all epochs but for the seconds."""
    return [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in manifest.metrics]
