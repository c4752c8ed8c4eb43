"""The demo: a plan over the sample, driven through the APIs of the services, which run in another process."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from services import __version__
from services.cli.analyses import summarise_analyses
from services.cli.client import Services, is_ready, named_services
from services.cli.connection import POLL_S, Connection, check_nothing
from services.cli.plan_reader import FAILED, PlanReader, follow_plan
from services.cli.progress import STAGES
from services.cli.signals import exit_on_signals
from services.common.errors import Unavailable
from services.common.identity import derived_id, new_id
from services.common.settings import Shared

START_LIMIT_S = 120.0
STOP_LIMIT_S = 30.0

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
    """Drive the plan on the services at `url`. Without a URL, start the embedded form first."""
    began = time.monotonic()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
    exit_on_signals()
    if url:
        with services_at(url) as services:
            drive_demo(services, once, fresh, began)
    else:
        with running_services() as (services, check):
            drive_demo(services, once, fresh, began, check)


def drive_demo(
    services: Services, once: bool, fresh: bool, began: float, check: Callable[[], None] = check_nothing
) -> None:
    """Drive the plan to its end and print the summary. Then return (`once`), or leave the pages open until Ctrl-C.

    The total is counted from `began`, a value of `time.monotonic`. `check` raises if services that do not answer cannot
    come back.
    """
    start_up_s = time.monotonic() - began
    training = Connection(services.training, check=check, known=True)
    plan_id = new_id("demo") if fresh else derived_id("demo", __version__, json.dumps(DEMO_PLAN, sort_keys=True))
    training.post_repeatable("/v1/plans", {"plan_id": plan_id} | DEMO_PLAN)
    if any(stage["state"] in FAILED for stage in PlanReader(services, plan_id, check=check, known=True).read()):
        plan_id = new_id("demo")  # an earlier demo failed here: start a new plan rather than show its failure again
        training.post_repeatable("/v1/plans", {"plan_id": plan_id} | DEMO_PLAN)
    stages = follow_plan(services, plan_id, check)
    summary = summarise(services, stages, check)
    summary["seconds"] |= {"start_up": round(start_up_s, 3), "total": round(time.monotonic() - began, 3)}
    if not once:
        typer.echo(f"\nThe study is open at {services.annotation} - interrupt with Ctrl-C to end.\n", err=True)
    typer.echo(json.dumps(summary))
    sys.stdout.flush()
    if not once:
        wait_for_interrupt()


def summarise(
    services: Services, stages: dict[str, dict[str, Any]], check: Callable[[], None] = check_nothing
) -> dict[str, Any]:
    """Collect the results of a completed plan from the services; `check` as for `drive_demo`."""
    training, extracting, drawing, _ = (Connection(base, check=check, known=True) for base in services.all())
    run = training.get(f"/v1/runs/{stages['training']['id']}")
    dataset = training.get(f"/v1/datasets/{run['dataset_id']}")
    extraction = extracting.get(f"/v1/extractions/{stages['extraction']['id']}")
    rendering = drawing.get(f"/v1/renderings/{stages['rendering']['id']}")
    return {
        "auc": run["epochs"][-1]["val_auc"],
        "patches": sum(dataset["splits"].values()),
        "layers": len(extraction["results"]),
        "units": sum(layer["units"] for layer in extraction["results"]),
        "pictures": rendering["pictures"],
        "analyses": summarise_analyses(extracting, extraction["extraction_id"]),
        "seconds": {name: stages[name]["seconds"] for name in STAGES},
        "study": stages["study"]["id"],
    }


@contextmanager
def running_services() -> Iterator[tuple[Services, Callable[[], None]]]:
    """Run `primitives up` in another process during the block. The services are ready when the block begins.

    Yields the services, and a function that raises Unavailable if the process has ended.
    """
    services = named_services()
    busy = [base for base in services.all() if is_ready(base)]
    if busy:
        raise Unavailable(f"something already answers at {', '.join(busy)}; stop it, or set other ports")
    log = Shared().folder("logs") / "up.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.cli", "up"], stdout=out, stderr=out, start_new_session=True
        )
        try:
            _await_ready(process, services, log)
            yield services, lambda: _require_running(process, log)
        finally:
            _stop(process)


@contextmanager
def services_at(url: str) -> Iterator[Services]:
    """Wait until the services that run at `url` are ready; the end of the block does not stop them. Unavailable names
    the services that do not become ready."""
    services = named_services(url)
    deadline = time.monotonic() + START_LIMIT_S
    while missing := [base for base in services.all() if not is_ready(base)]:
        if time.monotonic() > deadline:
            raise Unavailable(f"not ready within {START_LIMIT_S:.0f} s: {', '.join(missing)}")
        time.sleep(POLL_S)
    yield services


def wait_for_interrupt() -> None:
    """Return at Ctrl-C."""
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return


def _await_ready(process: "subprocess.Popen[bytes]", services: Services, log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while not all(map(is_ready, services.all())):
        _require_running(process, log)
        if time.monotonic() > deadline:
            raise Unavailable(f"the services were not ready within {START_LIMIT_S:.0f} s; see {log}")
        time.sleep(0.1)


def _require_running(process: "subprocess.Popen[bytes]", log: Path) -> None:
    if process.poll() is not None:
        raise Unavailable(f"the services ended with status {process.returncode}; see {log}\n{_tail(log)}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-5:])
