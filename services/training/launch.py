"""Training by several processes: torchrun starts them, and this process stands between them and the service.

Each of them connects to it through a socket. The leader is told what to do and whether to stop, and its reports and
checkpoints are passed on. They live no longer than this process: their standard input ends when it does.
"""

import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from services.common import errors
from services.common.observability.logs import log_environment
from services.common.work.jobs import LEAVE_S, POLL_S, Job, Order

SOCKET = "VISUAL_PRIMITIVES_JOB_SOCKET"
"""The environment variable that names the socket to the processes of this machine."""


def train_together(job: Job, arguments: dict[str, Any], processes: int, nodes: int, rendezvous: str) -> bool:
    """The result of `train_part` with these arguments in `processes` processes on each of `nodes` machines, of which
    this is the first. Raises what any of them here raises; JobCrashed if one ends without an answer."""
    with TemporaryDirectory(prefix="primitives-") as folder, socket.socket(socket.AF_UNIX) as server:
        path = Path(folder) / "job"
        server.bind(str(path))
        server.listen()
        launcher = subprocess.Popen(
            launch_command(processes, nodes, 0, rendezvous),
            stdin=subprocess.PIPE,
            env=os.environ | log_environment() | {SOCKET: str(path)},
        )
        members = _Members(server, arguments)
        try:
            return bool(members.follow(job, launcher))
        finally:
            members.end(launcher)


def launch_command(processes: int, nodes: int, node: int, rendezvous: str) -> list[str]:
    """torchrun for one machine of several, or for the only one: then it finds a free port by itself."""
    host, _, port = rendezvous.rpartition(":")
    meeting = (
        ["--standalone"]
        if nodes == 1
        else [f"--nnodes={nodes}", f"--node-rank={node}", f"--master-addr={host}", f"--master-port={port}"]
    )
    torchrun = [sys.executable, "-m", __spec__.name, *meeting, f"--nproc-per-node={processes}"]
    return [*torchrun, "--max-restarts=0", "-m", "services.training.worker"]


def end_with_job() -> None:
    """Let this process, which the job has started or which has been started by such a one, end at once when it does."""

    def watch() -> None:
        os.read(sys.stdin.fileno(), 1)  # nothing is ever written
        os._exit(1)

    threading.Thread(target=watch, name="job", daemon=True).start()


def main() -> None:
    """Be torchrun, but no longer than the job."""
    from torch.distributed.run import main as torchrun

    end_with_job()
    torchrun(sys.argv[1:])


@dataclass
class _Members:
    """The processes of this machine that have connected."""

    server: socket.socket
    arguments: dict[str, Any]
    working: list[Connection] = field(default_factory=list)
    leader: Connection | None = None

    def follow(self, job: Job, launcher: subprocess.Popen[bytes]) -> Any:
        """Pass on what the leader tells and is told, until it answers."""
        told = False
        while True:
            if job.paused() and self.leader is not None and not told:
                self.leader.send(Order.PAUSE)
                told = True
            for ready in wait([self.server, *self.working], POLL_S):
                if ready is self.server:
                    self._admit()
                elif isinstance(ready, Connection):
                    answer = self._hear(job, ready)
                    if answer is not None:
                        return answer
            if launcher.poll() is not None and not wait(self.working, 0):
                raise errors.JobCrashed(f"torchrun ended without an answer (exit code {launcher.returncode})")

    def end(self, launcher: subprocess.Popen[bytes]) -> None:
        """See that all of them have ended: those that are done by themselves, the others now."""
        if not self.working:
            with suppress(subprocess.TimeoutExpired):
                launcher.wait(LEAVE_S)
        launcher.kill()
        if launcher.stdin is not None:
            launcher.stdin.close()
        launcher.wait()
        for member in self.working:
            with suppress(EOFError, ConnectionResetError):
                while member.poll(LEAVE_S):
                    member.recv()
            member.close()

    def _admit(self) -> None:
        member = Connection(self.server.accept()[0].detach())
        self.working.append(member)
        if member.recv() == 0:
            self.leader = member
            member.send(self.arguments)

    def _hear(self, job: Job, member: Connection) -> Any:
        """Act on what a member tells; the leader's result, once all have told theirs."""
        try:
            kind, content = member.recv()
        except (EOFError, ConnectionResetError) as end:
            raise errors.JobCrashed("a process of the training ended without an answer") from end
        if kind == "progress":
            job.report(**content)
        elif kind == "milestone":
            job.milestone(**content)
        elif kind == "gpu":
            job.report_gpu_memory(content)
        elif kind == "error":
            raise _as_error(*content)
        else:
            self.working.remove(member)
            member.close()
            return content if not self.working else None
        return None


def _as_error(name: str, message: str) -> Exception:
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, errors.PrimitivesError):
        return kind(message)
    return errors.JobFailed(f"{name}: {message}")


if __name__ == "__main__":
    main()
