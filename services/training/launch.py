"""Training by several processes: torchrun starts them, and this process connects them with the service.

Each of them connects to this process through a socket. The leader receives the spec and the request to stop, and its
reports and checkpoints are forwarded. They live no longer than this process: their standard input ends when it does.
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

from services.common.errors import JobCrashed, error_of
from services.common.observability.logs import log_environment
from services.common.work.jobs import Job, Order
from services.common.work.runner import POLL_S, STOP_S
from services.training.specs import SavedCheckpoint, SliceSpec

SOCKET = "VISUAL_PRIMITIVES_JOB_SOCKET"
"""The environment variable that names the socket to the processes of this machine."""


def train_together(job: Job[SavedCheckpoint], spec: SliceSpec) -> bool:
    """Train a slice in the processes of the spec, on this machine and on its other nodes. Return whether the run is
    complete. Raise what a process here raises; JobCrashed if one ends without an answer."""
    with TemporaryDirectory(prefix="primitives-") as folder, socket.socket(socket.AF_UNIX) as server:
        path = Path(folder) / "job"
        server.bind(str(path))
        server.listen()
        launcher = subprocess.Popen(
            launch_command(spec.processes, spec.nodes, 0, spec.rendezvous),
            stdin=subprocess.PIPE,
            env=os.environ | log_environment() | {SOCKET: str(path)},
        )
        members = _Members(server, spec)
        try:
            return members.follow(job, launcher)
        finally:
            members.end(launcher)


def launch_command(processes: int, nodes: int, node: int, rendezvous: str) -> list[str]:
    """The command of torchrun for one machine of several, or for a single one, where it finds a free port by itself."""
    host, _, port = rendezvous.rpartition(":")
    meeting = (
        ["--standalone"]
        if nodes == 1
        else [f"--nnodes={nodes}", f"--node-rank={node}", f"--master-addr={host}", f"--master-port={port}"]
    )
    torchrun = [sys.executable, "-m", __spec__.name, *meeting, f"--nproc-per-node={processes}"]
    return [*torchrun, "--max-restarts=0", "-m", "services.training.worker"]


def end_with_job() -> None:
    """End this process at once when the job ends. The job started it, or started the process that did."""

    def watch() -> None:
        os.read(sys.stdin.fileno(), 1)  # returns when the job ends: nothing is ever written
        os._exit(1)

    threading.Thread(target=watch, name="job", daemon=True).start()


def main() -> None:
    """Run torchrun, but no longer than the job."""
    from torch.distributed.run import main as torchrun

    end_with_job()
    torchrun(sys.argv[1:])


@dataclass
class _Members:
    """The connected processes of this machine."""

    server: socket.socket
    spec: SliceSpec
    working: list[Connection] = field(default_factory=list)
    leader: Connection | None = None

    def follow(self, job: Job[SavedCheckpoint], launcher: subprocess.Popen[bytes]) -> bool:
        """Forward what the leader reports, and a pause to the leader, until it returns whether the run is complete."""
        requested = False
        while True:
            if job.paused() and self.leader is not None and not requested:
                self.leader.send(Order.PAUSE)
                requested = True
            for ready in wait([self.server, *self.working], POLL_S):
                if ready is self.server:
                    self._admit()
                elif isinstance(ready, Connection):
                    answer = self._receive(job, ready)
                    if answer is not None:
                        return answer
            if launcher.poll() is not None and not wait(self.working, 0):
                raise JobCrashed(f"torchrun ended without an answer (exit code {launcher.returncode})")

    def end(self, launcher: subprocess.Popen[bytes]) -> None:
        """Wait until all processes have ended. Kill the ones that do not end by themselves."""
        if not self.working:
            with suppress(subprocess.TimeoutExpired):
                launcher.wait(STOP_S)
        launcher.kill()
        if launcher.stdin is not None:
            launcher.stdin.close()
        launcher.wait()
        for member in self.working:
            with suppress(EOFError, ConnectionResetError):
                while member.poll(STOP_S):
                    member.recv()
            member.close()

    def _admit(self) -> None:
        member = Connection(self.server.accept()[0].detach())
        self.working.append(member)
        if member.recv() == 0:
            self.leader = member
            member.send(self.spec)

    def _receive(self, job: Job[SavedCheckpoint], member: Connection) -> bool | None:
        """Handle a message of a process. Return the leader's result once all processes have sent theirs, else None."""
        try:
            kind, content = member.recv()
        except (EOFError, ConnectionResetError) as end:
            raise JobCrashed("a process of the training ended without an answer") from end
        if kind == "report":
            job.forward(content)
        elif kind == "milestone":
            job.milestone(content)
        elif kind == "gpu":
            job.report_gpu_memory(content)
        elif kind == "error":
            raise error_of(*content)
        else:
            self.working.remove(member)
            member.close()
            return bool(content) if not self.working else None
        return None


if __name__ == "__main__":
    main()
