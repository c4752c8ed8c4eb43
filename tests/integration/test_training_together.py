"""Several processes that train one run, over gloo."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load as load_tensors

from deploy.local.servers import free_ports
from services.common.blobs import FolderBlobs, ObjectRef
from services.common.blobs.port import read_verified
from services.common.errors import InvalidInput, JobCrashed, JobStopped
from services.common.work.jobs import JobRunner
from services.imaging.checkpoint import CheckpointManifest, open_checkpoint
from services.training.job import train_slice
from services.training.launch import launch_command
from services.training.schemas import RunSettings
from tests.fakes.data import SilentJob, store_dataset
from tests.integration.processes import children_of, takes_effect

LIMIT_S = 60.0
TOLERANCE = 1e-5
SETTINGS = RunSettings(
    architecture="test_convnext",
    weights="none",
    image_size=64,
    epochs=2,
    batch_size=8,
    accumulate_steps=2,
    optimizer="sgd",
    learning_rate=0.05,
    warmup_steps=0,
    clip_norm=1.0,
    balance="weights",
    rotation=10,
    contrast=0.2,
)
"""A network without batch norm, which on the CPU computes over the patches of its own process, and without dropout,
which each process draws for itself."""


class WatchedJob(SilentJob):
    """A job that does something, once, when the run has told of so many steps."""

    def __init__(self, steps: int, then: Callable[["WatchedJob"], None]) -> None:
        super().__init__()
        self._left, self._then = steps, then
        self.is_paused = self.is_cancelled = False

    def report(self, **progress: object) -> None:
        """Count it."""
        self._left -= 1
        if self._left == 0:
            self._then(self)

    def paused(self) -> bool:
        """What was done."""
        if self.is_cancelled:
            raise JobStopped("cancelled")
        return self.is_paused


class Run:
    """A run over a small data set."""

    def __init__(self, folder: Path, splits: dict[str, int]) -> None:
        self.blobs = FolderBlobs(folder / "blobs")
        _, self.dataset = store_dataset(self.blobs, folder / "ddsm", splits)
        self.folder = folder
        self.last: Any = None

    def arguments(self, settings: RunSettings) -> dict[str, Any]:
        """Those of the next slice."""
        return {
            "blobs_url": self.blobs.url,
            "scratch": str(self.folder),
            "run_id": "run-1",
            "dataset": self.dataset.model_dump(),
            "settings": settings.model_dump(),
            "checkpoint": self.last,
            "slice_s": 600.0,
            "cache_mb": 16,
            "device": "cpu",
        }

    def slice(self, job: SilentJob, settings: RunSettings = SETTINGS, **how: Any) -> bool:
        """One slice; True if the run is complete."""
        complete = train_slice(job, **self.arguments(settings), **how)  # type: ignore[arg-type]
        self.last = job.milestones[-1]["last_checkpoint"]
        return complete

    def checkpoint(self) -> tuple[CheckpointManifest, dict[str, torch.Tensor]]:
        """The last one, and its weights."""
        manifest = open_checkpoint(self.blobs, ObjectRef.model_validate(self.last))
        return manifest, load_tensors(read_verified(self.blobs, manifest.weights))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path, {"train": 41, "val": 12})


def pause(job: WatchedJob) -> None:
    job.is_paused = True


def cancel(job: WatchedJob) -> None:
    job.is_cancelled = True


def test_processes_make_what_one_process_makes(run: Run, tmp_path: Path) -> None:
    """Begun by two machines, paused in mid-epoch and completed by two processes of one: weights and metrics are within
    1e-5 those of one process that was left alone, and the weights are far from where they began."""
    alone = Run(tmp_path / "alone", {"train": 41, "val": 12})
    assert alone.slice(SilentJob()) is True
    meeting = f"127.0.0.1:{free_ports(1)[0]}"
    with subprocess.Popen(launch_command(1, 2, 1, meeting), stdin=subprocess.PIPE) as second:
        assert run.slice(WatchedJob(2, pause), nodes=2, rendezvous=meeting) is False
        second.wait(LIMIT_S)
    begun, early = run.checkpoint()
    assert (begun.epoch, begun.step >= 2) == (0, True)
    assert run.slice(SilentJob(), processes=2) is True
    (expected, weights), (found, others) = alone.checkpoint(), run.checkpoint()
    furthest = max((weights[name] - others[name]).abs().max().item() for name in weights)
    print(f"largest difference of a weight: {furthest:.1e}")
    assert furthest < TOLERANCE
    assert max((weights[name] - early[name]).abs().max().item() for name in weights) > 1000 * TOLERANCE
    assert len(expected.metrics) == len(found.metrics) == SETTINGS.epochs
    for one, other in zip(expected.metrics, found.metrics, strict=True):
        assert other.pop("val_auc_by_class") == pytest.approx(one.pop("val_auc_by_class"), abs=TOLERANCE)
        assert other | {"seconds": 0} == pytest.approx(one | {"seconds": 0}, abs=TOLERANCE)


def kill_one(_: WatchedJob) -> None:
    """Kill one of the processes that torchrun has started."""
    os.kill(children_of(torchrun(os.getpid()))[-1], signal.SIGKILL)


@pytest.mark.parametrize(("then", "error"), [(kill_one, JobCrashed), (cancel, JobStopped)])
def test_the_end_of_one_is_the_end_of_all(run: Run, then: Callable[[WatchedJob], None], error: type[Exception]) -> None:
    """One process that is killed is a failed attempt, a cancelled run is none; no process is left in either case."""
    started: list[int] = []

    def act(job: WatchedJob) -> None:
        started.extend([torchrun(os.getpid()), *children_of(torchrun(os.getpid()))])
        then(job)

    with pytest.raises(error):
        run.slice(WatchedJob(2, act), SETTINGS.model_copy(update={"epochs": 10_000}), processes=2)
    assert len(started) == 3
    takes_effect(lambda: [pid for pid in started if command_of(pid)] == [])


def test_no_process_outlives_a_job_that_is_killed(run: Run) -> None:
    """kill -9 of the job's child, which has no time to end the others."""
    runner, started = JobRunner("killed"), list[int]()

    def kill(_: dict[str, Any]) -> None:
        if not started:
            child = runner._child.pid  # type: ignore[union-attr]
            started.extend([torchrun(child), *children_of(torchrun(child))])
            os.kill(child, signal.SIGKILL)

    arguments = run.arguments(SETTINGS.model_copy(update={"epochs": 10_000})) | {"processes": 2}
    with pytest.raises(JobCrashed):
        runner.run("services.training.job:train_slice", arguments, kill)
    assert len(started) == 3
    takes_effect(lambda: [pid for pid in started if command_of(pid)] == [])
    runner.close()


def test_what_one_of_them_refuses_is_told(run: Run) -> None:
    """An error of a process is the job's, in its own words."""
    run.dataset = store_dataset(run.blobs, run.folder / "val-only", {"val": 6})[1]
    with pytest.raises(InvalidInput, match="has no split train"):
        run.slice(SilentJob(), processes=2)


def torchrun(job: int) -> int:
    """The process that a job has started, and that has started those that train."""
    [found] = [pid for pid in children_of(job) if b"services.training.launch" in command_of(pid)]
    return found


def command_of(pid: int) -> bytes:
    """The command line of a process; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
