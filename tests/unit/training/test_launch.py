"""What stands between the processes of a training and the service."""

import socket
from multiprocessing import Pipe
from typing import Any

from services.common.work.jobs import Job
from services.training.launch import _Members


class HeardJob(Job):
    """Keeps what is passed on to it, in order."""

    def __init__(self) -> None:
        """It has no connection."""
        self.heard: list[tuple[str, Any]] = []

    def report(self, **progress: Any) -> None:
        self.heard.append(("progress", progress))

    def report_gpu_memory(self, memory: dict[str, dict[str, int]]) -> None:
        self.heard.append(("gpu", memory))

    def milestone(self, **facts: Any) -> None:
        self.heard.append(("milestone", facts))


def test_all_that_a_leader_tells_is_passed_on_and_is_no_result() -> None:
    """Progress, the memory of its GPU and checkpoints; only its result ends the training."""
    ours, theirs = Pipe()
    job, told = HeardJob(), [("progress", {"done": 1}), ("gpu", {"0": {"used": 3}}), ("milestone", {"epochs": []})]
    with socket.socket() as server:
        members = _Members(server, {}, [ours])
        for one in told:
            theirs.send(one)
            assert members._hear(job, ours) is None
        theirs.send(("result", True))
        assert members._hear(job, ours) is True
    assert job.heard == told
