"""The demo: a plan over the sample, driven through the APIs of services in a process of their own."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from services import __version__
from services.activation_extraction.settings import ExtractionSettings
from services.annotation.settings import AnnotationSettings
from services.cli.analyses import print_analyses
from services.cli.client import Services, get, is_ready, plan_stages, post
from services.cli.progress import STAGES, StageBars
from services.cli.signals import leave_in_order
from services.common.errors import InvalidInput, PrimitivesError, Unavailable
from services.common.identity import derived_id, new_id
from services.common.settings import Shared
from services.patch_rendering.settings import RenderingSettings
from services.training.settings import TrainingSettings

START_LIMIT_S = 120.0
STOP_LIMIT_S = 30.0
POLL_S = 0.5
ENDED_BADLY = ("failed", "cancelled")

DEMO_PLAN: dict[str, Any] = {
    "network": {"train": {"architecture": "efficientnet_lite0", "image_size": 160, "epochs": 3}},
    "extraction": {
        "split": "val",
        "layers": ["block4", "block6"],
        "top_k": 64,
        "analyses": ["dissection", "influence"],
    },
    "study": {"title": "Demo: simulated lesions in real tissue", "units_per_class": 10},
}


def run_demo(once: bool, fresh: bool, url: str = "") -> None:
    """Drive the plan on the services at `url`, or without one start the embedded form and drive it on that."""
    began = time.monotonic()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
    leave_in_order()
    with services_at(url) if url else running_services() as services:
        drive_demo(services, once, fresh, began)


def drive_demo(services: Services, once: bool, fresh: bool, began: float) -> None:
    """Drive the plan to its end; then print the summary and end (`once`), or leave the pages open.

    `began` is the moment of `time.monotonic` from which the total is counted.
    """
    start_up_s = time.monotonic() - began
    plan_id = new_id("demo") if fresh else derived_id("demo", __version__, json.dumps(DEMO_PLAN, sort_keys=True))
    begun = post(services.training, "/v1/plans", {"plan_id": plan_id} | DEMO_PLAN)["stages"]
    if any(stage["state"] in ENDED_BADLY for stage in begun + plan_stages(services, plan_id)):
        plan_id = new_id("demo")  # an earlier demo failed here: begin afresh rather than show its failure again
        post(services.training, "/v1/plans", {"plan_id": plan_id} | DEMO_PLAN)
    stages = follow(services, plan_id)
    summary = summarise(services, stages, start_up_s, time.monotonic() - began)
    if not once:
        typer.echo(f"\nThe study is open at {services.annotation} - interrupt with Ctrl-C to end.\n", err=True)
    typer.echo(json.dumps(summary))
    sys.stdout.flush()
    if not once:
        wait_for_interrupt()


def follow(services: Services, plan_id: str) -> dict[str, dict[str, Any]]:
    """Show the stages until the study is open; by name. PrimitivesError with the stage's own words if one fails."""
    with StageBars() as bars:
        while True:
            stages = {stage["name"]: stage for stage in plan_stages(services, plan_id)}
            bars.show(list(stages.values()))
            for stage in stages.values():
                if stage["state"] in ENDED_BADLY:
                    raise PrimitivesError(
                        f"the stage {stage['name']} of plan {plan_id} {stage['state']}: {stage['error']}"
                    )
            if stages.get(STAGES[-1], {}).get("state") == "completed":
                return stages
            time.sleep(POLL_S)


def summarise(
    services: Services, stages: dict[str, dict[str, Any]], start_up_s: float, total_s: float
) -> dict[str, Any]:
    """What the plan came to, from the services' own answers."""
    run = get(services.training, f"/v1/runs/{stages['training']['id']}")
    dataset = get(services.training, f"/v1/datasets/{run['dataset_id']}")
    extraction = get(services.activation_extraction, f"/v1/extractions/{stages['extraction']['id']}")
    rendering = get(services.patch_rendering, f"/v1/renderings/{stages['rendering']['id']}")
    seconds = {name: stages[name]["seconds"] for name in STAGES}
    return {
        "auc": run["epochs"][-1]["val_auc"],
        "patches": sum(dataset["splits"].values()),
        "layers": len(extraction["results"]),
        "units": sum(layer["units"] for layer in extraction["results"]),
        "pictures": rendering["pictures"],
        "analyses": print_analyses(services.activation_extraction, extraction["extraction_id"]),
        "seconds": seconds | {"start_up": round(start_up_s, 3), "total": round(total_s, 3)},
        "study": stages["study"]["id"],
    }


@contextmanager
def running_services() -> Iterator[Services]:
    """`primitives up` in a process of its own, ready when the block begins and stopped when it ends."""
    services = named_services()
    busy = [base for base in services.all() if is_ready(base)]
    if busy:
        raise Unavailable(f"something answers already at {', '.join(busy)}; stop it, or set other ports")
    log = Shared().folder("logs") / "up.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.cli", "up"], stdout=out, stderr=out, start_new_session=True
        )
        try:
            _await_ready(process, services, log)
            yield services
        finally:
            _stop(process)


@contextmanager
def services_at(url: str) -> Iterator[Services]:
    """Services that run elsewhere, once all are ready; they go on when the block ends. Unavailable names those that do
    not become ready."""
    services = named_services(url)
    deadline = time.monotonic() + START_LIMIT_S
    while missing := [base for base in services.all() if not is_ready(base)]:
        if time.monotonic() > deadline:
            raise Unavailable(f"not ready within {START_LIMIT_S:.0f} s: {', '.join(missing)}")
        time.sleep(POLL_S)
    yield services


def named_services(url: str = "") -> Services:
    """Where the settings say that the four services answer, each at its own port; `url` is another scheme and host.

    InvalidInput for a URL with more than these.
    """
    shared = Shared()
    base = url.rstrip("/") or f"{'http' if shared.tls_certificate is None else 'https'}://{shared.host}"
    if not re.fullmatch(r"https?://([^/:@\[\]]+|\[[0-9a-fA-F:]+\])", base):
        raise InvalidInput(f"{url} is no address of services; expected http://HOST, to which each adds its own port")
    every = (TrainingSettings(), ExtractionSettings(), RenderingSettings(), AnnotationSettings())
    return Services(*(f"{base}:{one.http_port}" for one in every))


def wait_for_interrupt() -> None:
    """Return at Ctrl-C."""
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return


def _await_ready(process: "subprocess.Popen[bytes]", services: Services, log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while not all(map(is_ready, services.all())):
        if process.poll() is not None:
            raise Unavailable(f"the services ended with status {process.returncode}; see {log}\n{_tail(log)}")
        if time.monotonic() > deadline:
            raise Unavailable(f"the services were not ready within {START_LIMIT_S:.0f} s; see {log}")
        time.sleep(0.1)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-5:])
