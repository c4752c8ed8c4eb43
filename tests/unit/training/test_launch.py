"""The connection between the processes that train a run and the service."""

import socket
from multiprocessing import Pipe
from typing import Any

from services.common.blobs import ObjectRef
from services.common.work.jobs import GpuMemory, Job, JobReport
from services.training.launch import _Members
from services.training.schemas import RunSettings
from services.training.specs import SavedCheckpoint, SliceSpec


class ReceivingJob(Job[SavedCheckpoint]):
    """Records what is forwarded to it, in order."""

    def __init__(self) -> None:
        """There is no connection."""
        self.received: list[tuple[str, Any]] = []

    def forward(self, report: JobReport) -> None:
        """Record a report."""
        self.received.append(("report", report))

    def report_gpu_memory(self, memory: GpuMemory) -> None:
        """Record the memory of GPUs."""
        self.received.append(("gpu", memory))

    def milestone(self, content: SavedCheckpoint) -> None:
        """Record a checkpoint."""
        self.received.append(("milestone", content))


def test_the_leaders_messages_are_forwarded() -> None:
    """Reports, the memory of its GPU and checkpoints are forwarded. Only a result ends the training."""
    ref = ObjectRef(bucket="training", key="c", sha256="0" * 64, size=1)
    saved = SavedCheckpoint(checkpoint=ref, best_checkpoint=ref, last_checkpoint=ref, kept=None, epochs=[])
    messages = [("report", JobReport(done=1)), ("gpu", {"0": {"used": 3}}), ("milestone", saved)]
    spec = SliceSpec(
        blobs_url="", scratch="", run_id="run-1", dataset=ref, settings=RunSettings(), checkpoint=None, slice_s=1,
        cache_mb=0, device="cpu",
    )  # fmt: skip
    ours, theirs = Pipe()
    job = ReceivingJob()
    with socket.socket() as server:
        members = _Members(server, spec, [ours])
        for message in messages:
            theirs.send(message)
            assert members._receive(job, ours) is None
        theirs.send(("result", True))
        assert members._receive(job, ours) is True
    assert job.received == messages
