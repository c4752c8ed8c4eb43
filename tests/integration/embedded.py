"""The embedded form as its users run it: `primitives up` in its own process, on free ports."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.local.servers import free_ports
from services.cli.client import Services, get, is_ready, plan_stages

LIMIT_S = 180.0
PREFIXES = ("TRAINING", "EXTRACTION", "RENDERING", "ANNOTATION")
STAGES = ("training", "extraction", "rendering", "study")


class Embedded:
    """A home folder and its serving process, which may be killed and started again."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.home = home
        ports = free_ports(2 * len(PREFIXES))
        http, grpc = ports[: len(PREFIXES)], ports[len(PREFIXES) :]
        self.grpc = dict(zip(PREFIXES, grpc, strict=True))
        self.environment = os.environ | {"PRIMITIVES_HOME": str(home), "OMP_NUM_THREADS": "1"} | environment
        for prefix, http_port, grpc_port in zip(PREFIXES, http, grpc, strict=True):
            self.environment[f"PRIMITIVES_{prefix}_HTTP_PORT"] = str(http_port)
            self.environment[f"PRIMITIVES_{prefix}_GRPC_PORT"] = str(grpc_port)
        self.services = Services(*(f"http://127.0.0.1:{port}" for port in http))
        self._process: subprocess.Popen[bytes] | None = None

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run `primitives …` on this home."""
        return subprocess.run(
            [sys.executable, "-m", "services.cli", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )

    def start(self) -> None:
        """Start the services and wait until they are ready."""
        self.home.mkdir(parents=True, exist_ok=True)
        log = (self.home / "up.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "services.cli", "up"], env=self.environment, stdout=log, stderr=log
        )
        self.wait_for(lambda: all(map(is_ready, self.services.all())))

    @property
    def pid(self) -> int:
        """The serving process."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """Kill the process as a power cut would: no signal handler runs."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> int:
        """End the process with a signal, as an operator would. Return its exit status."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(LIMIT_S)

    def wait_for(self, done: Callable[[], bool]) -> None:
        """Poll until `done()`. Fail with the end of the log if the process has ended or the time is over."""
        deadline = time.monotonic() + LIMIT_S
        while not done():
            ended = self._process is not None and self._process.poll() is not None
            assert not ended and time.monotonic() < deadline, (self.home / "up.log").read_text()[-3000:]
            time.sleep(0.05)

    def stages(self, plan_id: str) -> dict[str, dict[str, Any]]:
        """Return the stages of a plan that have begun, by name."""
        return {stage["name"]: stage for stage in plan_stages(self.services, plan_id)}

    def wait_for_plan(self, plan_id: str) -> dict[str, dict[str, Any]]:
        """Wait until a plan's study is open and return its stages. A failed stage fails the test with its message."""

        def ended() -> bool:
            stages = self.stages(plan_id)
            failed = {name: stage["error"] for name, stage in stages.items() if stage["state"] == "failed"}
            assert not failed, failed
            return stages.get("study", {}).get("state") == "completed"

        self.wait_for(ended)
        return self.stages(plan_id)

    def count(self) -> dict[str, int]:
        """Return the numbers of runs, extractions and renderings."""
        training, extraction, rendering, _ = self.services.all()
        return {
            "runs": len(get(training, "/v1/runs")["runs"]),
            "extractions": len(get(extraction, "/v1/extractions")["extractions"]),
            "renderings": len(get(rendering, "/v1/renderings")["renderings"]),
        }


@contextmanager
def embedded(home: Path, **environment: str) -> Iterator[Embedded]:
    """Run the embedded form over a home folder during the block."""
    services = Embedded(home, **environment)
    services.start()
    try:
        yield services
    finally:
        services.stop()
