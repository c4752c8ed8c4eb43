"""One of the processes that train a run together. torchrun starts them on every machine.

Processes on the service's machine are connected with its job. Processes on other machines receive the spec from the
leader, and end with the others.
"""

import os
import socket
import sys
from multiprocessing.connection import Connection
from typing import Any, cast

from services.common.observability.logs import configure_logs_from_environment, get_logger
from services.common.work.jobs import GpuMemory, Job, JobReport
from services.imaging.devices import choose_device
from services.training.distributed import join_team, own_device, own_rank
from services.training.job import train_part
from services.training.launch import SOCKET, end_with_job
from services.training.specs import SavedCheckpoint, SliceSpec

log = get_logger(__name__)


class QuietJob(Job[SavedCheckpoint]):
    """The job of a process that does not lead: only the leader reports, saves and receives the request to stop."""

    def __init__(self) -> None:
        """There is no connection."""

    def forward(self, report: JobReport) -> None:
        """Drop the report: the leader reports."""

    def report_gpu_memory(self, memory: GpuMemory) -> None:
        """Drop the report: the leader reports."""

    def report(
        self, done: float, total: float = 0, phase: str = "", unit: str = "", counted: float | None = None
    ) -> None:
        """Drop the report: the leader reports."""

    def milestone(self, content: SavedCheckpoint) -> None:
        """Drop the milestone: the leader saves."""

    def paused(self) -> bool:
        """Never: the leader decides."""
        return False


def main() -> None:
    """Train this process's part, and report how it ended to the job."""
    configure_logs_from_environment()
    connection = _connect() if SOCKET in os.environ else None
    try:
        answer: tuple[str, Any] = ("result", work(connection))
    except Exception as error:  # whatever it is, it ends the training of all processes
        log.error("process of the training failed", error=type(error).__name__, message=str(error))
        answer = ("error", (type(error).__name__, str(error)))
    if connection is not None:
        connection.send(answer)
    if answer[0] == "error":
        sys.exit(1)


def work(connection: Connection | None) -> bool:
    """Join the other processes, receive the spec from the leader, and train. Return whether the run is complete."""
    leads = connection is not None and own_rank() == 0
    received: SliceSpec | None = connection.recv() if connection is not None and leads else None
    with join_team() as team:
        spec = cast(SliceSpec, team.broadcast(lambda: received))
        job = Job[SavedCheckpoint](connection) if connection is not None and leads else QuietJob()
        return train_part(job, team, own_device(choose_device(spec.device)), spec)


def _connect() -> Connection:
    """Connect with the job of this machine. The first message is this process's rank."""
    end_with_job()
    line = socket.socket(socket.AF_UNIX)
    line.connect(os.environ[SOCKET])
    connection = Connection(line.detach())
    connection.send(own_rank())
    return connection


if __name__ == "__main__":
    main()
