"""A separate Docker engine, with its data, socket and pid file below one folder."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_LIMIT_S = 60.0
STOP_LIMIT_S = 60.0
PROGRAMS = {"dockerd": "docker.io", "debootstrap": "debootstrap", "iptables": "iptables"}


@dataclass(frozen=True)
class Docker:
    """The command line of an engine, and of Compose on it. Their output goes to a log."""

    socket: Path
    log: Path

    def run(self, *words: str, cwd: Path | None = None, environment: dict[str, str] | None = None) -> str:
        """Run `docker WORDS` and return its output. RuntimeError with the end of the log if it fails."""
        return self._run(["/usr/bin/docker", *words], cwd, environment or {})

    def compose(self, *words: str, cwd: Path, environment: dict[str, str]) -> str:
        """Run `docker compose WORDS` with the Compose file of `cwd`; output and errors as for `run`."""
        return self._run([str(Path(sys.executable).with_name("docker-compose")), *words], cwd, environment)

    def _run(self, command: list[str], cwd: Path | None, environment: dict[str, str]) -> str:
        # The classic builder, because Debian's engine lacks the BuildKit plug-in.
        ours = {"DOCKER_HOST": f"unix://{self.socket}", "DOCKER_BUILDKIT": "0"}
        with self.log.open("a") as out:
            out.write(f"\n$ {' '.join(command)}\n")
            out.flush()
            done = subprocess.run(
                command,
                check=False,
                cwd=cwd,
                env=os.environ | ours | environment,
                stdout=subprocess.PIPE,
                stderr=out,
                text=True,
            )
            out.write(done.stdout)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}; the log ends:\n{self.tail()}")
        return done.stdout.strip()

    def tail(self) -> str:
        """Return the last lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])


def install_programs() -> None:
    """Install the engine and debootstrap from Debian's packages, where they are missing."""
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if missing:
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
        subprocess.run(install, check=True, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"})


@contextmanager
def running_engine(folder: Path) -> Iterator[Docker]:
    """Run an engine during the block."""
    folder.mkdir(parents=True, exist_ok=True)
    docker = Docker(folder / "docker.sock", folder / "smoke.log")
    docker.log.write_text("")
    command = [
        "dockerd", f"--data-root={folder / 'data'}", f"--exec-root={folder / 'exec'}",
        f"--pidfile={folder / 'docker.pid'}", f"--host=unix://{docker.socket}",
    ]  # fmt: skip
    with (folder / "dockerd.log").open("w") as out:
        engine = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    try:
        _await(engine, docker, folder / "dockerd.log")
        yield docker
    finally:
        engine.terminate()
        engine.wait(STOP_LIMIT_S)
        # The engine leaves the host's network mounted there. The folder cannot be removed before.
        subprocess.run(["umount", str(folder / "exec" / "netns" / "default")], check=False, capture_output=True)


def _await(engine: "subprocess.Popen[bytes]", docker: Docker, log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while True:
        try:
            docker.run("version")
        except RuntimeError as error:
            if engine.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the engine did not start; see {log}") from error
            time.sleep(0.2)
        else:
            return
