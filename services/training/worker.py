"""One of the processes that train a run together, as torchrun starts it on every machine.

Those of the service's own machine are connected with its job. Those of other machines learn from the leader what to do,
and end with the others.
"""

import os
import socket
import sys
from multiprocessing.connection import Connection
from typing import Any

from services.common.observability.logs import configure_logs_from_environment, get_logger
from services.common.work.jobs import Job
from services.imaging.devices import choose_device
from services.training.distributed import join_team, own_device, own_rank
from services.training.job import train_part
from services.training.launch import SOCKET, end_with_job

log = get_logger(__name__)


class QuietJob(Job):
    """The job of a process that does not lead: nobody listens to it, and only the leader is told to stop."""

    def __init__(self) -> None:
        """It has no connection."""

    def report(self, **progress: Any) -> None:
        """Forget it: the leader reports."""

    def milestone(self, **facts: Any) -> None:
        """Forget it: the leader saves."""

    def paused(self) -> bool:
        """It does as the leader decides."""
        return False


def main() -> None:
    """Do this process's part, and tell the job how it ended."""
    configure_logs_from_environment()
    connection = _connect() if SOCKET in os.environ else None
    try:
        told: tuple[str, Any] = ("result", work(connection))
    except Exception as error:  # whatever it is, it ends the whole team
        log.error("process of the training failed", error=type(error).__name__, message=str(error))
        told = ("error", (type(error).__name__, str(error)))
    if connection is not None:
        connection.send(told)
    if told[0] == "error":
        sys.exit(1)


def work(connection: Connection | None) -> bool:
    """Meet the others, hear from the leader what there is to do, and do it."""
    leads = connection is not None and own_rank() == 0
    asked: dict[str, Any] = connection.recv() if connection is not None and leads else {}
    with join_team() as team:
        arguments = team.tell(lambda: asked)
        device = own_device(choose_device(arguments.pop("device")))
        job = Job(connection) if connection is not None and leads else QuietJob()
        return train_part(job, team, device, **arguments)


def _connect() -> Connection:
    """The line to the job of this machine, which hears first who this is."""
    end_with_job()
    line = socket.socket(socket.AF_UNIX)
    line.connect(os.environ[SOCKET])
    connection = Connection(line.detach())
    connection.send(own_rank())
    return connection


if __name__ == "__main__":
    main()
