"""Several processes train a run together, over gloo."""

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
from services.common.work.runner import JobRunner
from services.imaging.checkpoint import CheckpointManifest, open_checkpoint
from services.training.job import train_slice
from services.training.launch import launch_command
from services.training.schemas import RunSettings
from services.training.specs import TRAIN_SLICE, SliceSpec
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
"""The network has no batch norm, which on the CPU computes over the patches of one process, and no dropout, which each
process draws for itself."""


class WatchedJob(SilentJob):
    """A job that calls a function once, after a number of reported steps."""

    def __init__(self, steps: int, then: Callable[["WatchedJob"], None]) -> None:
        super().__init__()
        self._left, self._then = steps, then
        self.is_paused = self.is_cancelled = False

    def forward(self, _report: object) -> None:
        """Count a report of the leader as a step."""
        self._left -= 1
        if self._left == 0:
            self._then(self)

    def paused(self) -> bool:
        """Return whether the function has paused the run; raise JobStopped if it has cancelled the run."""
        if self.is_cancelled:
            raise JobStopped("cancelled")
        return self.is_paused


class Run:
    """A run over a small data set."""

    def __init__(self, folder: Path, splits: dict[str, int]) -> None:
        self.blobs = FolderBlobs(folder / "blobs")
        _, self.dataset = store_dataset(self.blobs, folder / "ddsm", splits)
        self.folder = folder
        self.last: ObjectRef | None = None

    def spec(self, settings: RunSettings, **processes: Any) -> SliceSpec:
        """The spec of the next slice."""
        return SliceSpec(
            blobs_url=self.blobs.url,
            scratch=str(self.folder),
            run_id="run-1",
            dataset=self.dataset,
            settings=settings,
            checkpoint=self.last,
            slice_s=600.0,
            cache_mb=16,
            device="cpu",
            **processes,
        )

    def slice(self, job: SilentJob, settings: RunSettings = SETTINGS, **processes: Any) -> bool:
        """Train one slice. Return whether the run is complete."""
        complete = train_slice(job, self.spec(settings, **processes))  # type: ignore[arg-type]
        self.last = job.milestones[-1].last_checkpoint
        return complete

    def checkpoint(self) -> tuple[CheckpointManifest, dict[str, torch.Tensor]]:
        """The last checkpoint and its weights."""
        assert self.last is not None
        manifest = open_checkpoint(self.blobs, self.last)
        return manifest, load_tensors(read_verified(self.blobs, manifest.weights))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path, {"train": 41, "val": 12})


def pause(job: WatchedJob) -> None:
    job.is_paused = True


def cancel(job: WatchedJob) -> None:
    job.is_cancelled = True


def test_several_processes_train_like_a_single_one(run: Run, tmp_path: Path) -> None:
    """Two machines begin a run and are paused within an epoch; two processes of one machine complete it. Weights and
    metrics are within 1e-5 of those of a single process, and the weights are far from their first values."""
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
def test_all_processes_end_when_one_ends(run: Run, then: Callable[[WatchedJob], None], error: type[Exception]) -> None:
    """If a process is killed, the attempt fails; if the run is cancelled, it stops. Either way no process remains."""
    started: list[int] = []

    def act(job: WatchedJob) -> None:
        started.extend([torchrun(os.getpid()), *children_of(torchrun(os.getpid()))])
        then(job)

    with pytest.raises(error):
        run.slice(WatchedJob(2, act), SETTINGS.model_copy(update={"epochs": 10_000}), processes=2)
    assert len(started) == 3
    takes_effect(lambda: [pid for pid in started if command_of(pid)] == [])


def test_no_process_outlives_a_job_that_is_killed(run: Run) -> None:
    """If the job's child is killed with SIGKILL, it has no time to end the others, but they end."""
    runner, started = JobRunner("killed"), list[int]()

    def kill(_: object) -> None:
        if not started:
            child = runner._child.pid  # type: ignore[union-attr]
            started.extend([torchrun(child), *children_of(torchrun(child))])
            os.kill(child, signal.SIGKILL)

    spec = run.spec(SETTINGS.model_copy(update={"epochs": 10_000}), processes=2)
    with pytest.raises(JobCrashed):
        runner.run(TRAIN_SLICE, spec, kill)
    assert len(started) == 3
    takes_effect(lambda: [pid for pid in started if command_of(pid)] == [])
    runner.close()


def test_an_error_of_a_process_is_the_error_of_the_job(run: Run) -> None:
    """The job raises the same error with the same message."""
    run.dataset = store_dataset(run.blobs, run.folder / "val-only", {"val": 6})[1]
    with pytest.raises(InvalidInput, match="has no split train"):
        run.slice(SilentJob(), processes=2)


def torchrun(job: int) -> int:
    """The process that a job has started. It has started the processes that train."""
    [found] = [pid for pid in children_of(job) if b"services.training.launch" in command_of(pid)]
    return found


def command_of(pid: int) -> bytes:
    """The command line of a process; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
