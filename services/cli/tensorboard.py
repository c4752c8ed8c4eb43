"""`primitives tensorboard`: TensorBoard over the event files of runs, also while the runs continue."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli.client import named_services
from services.cli.connection import Connection
from services.cli.signals import exit_on_signals
from services.common.blobs import Blobs, ObjectRef, open_blobs
from services.common.blobs.port import read_verified
from services.common.errors import NotFound, Unavailable
from services.common.records import ENDED
from services.common.settings import Shared

FILE = "events.out.tfevents.run"
REFRESH_S = 5.0


def tensorboard(
    run: Annotated[list[str], typer.Argument(help="One or more runs to compare.")],
    port: Annotated[int, typer.Option(help="Port of the pages.")] = 6006,
    logdir: Annotated[Path | None, typer.Option(help="Folder for the event files; by default a temporary one.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Only write the event files into --logdir.")] = False,
) -> None:
    """Fetch the event files of runs and open TensorBoard on them. Files of unfinished runs are refreshed."""
    exit_on_signals()
    service, blobs = Connection(named_services().training), open_blobs(Shared().blobs())
    with tempfile.TemporaryDirectory(prefix="tensorboard-") as temporary:
        folder = logdir or Path(temporary)
        unfinished = [run_id for run_id in run if fetch_events(service, blobs, run_id, folder)]
        if once:
            return
        command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--port", str(port)]
        process = subprocess.Popen([*command, "--host", "127.0.0.1", "--reload_interval", str(int(REFRESH_S))])
        try:
            while process.poll() is None:
                time.sleep(REFRESH_S)
                unfinished = [run_id for run_id in unfinished if _refresh(service, blobs, run_id, folder)]
        finally:
            process.terminate()
            process.wait()


def fetch_events(service: Connection, blobs: Blobs, run_id: str, folder: Path) -> bool:
    """Write the newest event file of a run into `folder/RUN`. Return whether the run is unfinished. NotFound if it has
    no event file and never will have one."""
    run: dict[str, Any] = service.get(f"/v1/runs/{run_id}")
    is_unfinished = run["state"] not in ENDED
    if run["checkpoint"] is None:
        if not is_unfinished:
            raise NotFound(f"run {run_id} is {run['state']} and has no checkpoint, so it has no event file")
        return True
    events = _newest_events(blobs, ObjectRef.model_validate(run["checkpoint"]))
    if events is None:
        raise NotFound(f"run {run_id} was imported and has no event file")
    target = folder / run_id / FILE
    target.parent.mkdir(parents=True, exist_ok=True)
    # In place: an event file only grows, and TensorBoard continues where it stopped reading.
    target.write_bytes(events)
    return is_unfinished


def _refresh(service: Connection, blobs: Blobs, run_id: str, folder: Path) -> bool:
    """Fetch the event file of an unfinished run again. A store that does not answer is read at the next refresh."""
    try:
        return fetch_events(service, blobs, run_id, folder)
    except Unavailable:
        return True


def _newest_events(blobs: Blobs, checkpoint: ObjectRef) -> bytes | None:
    from services.imaging.checkpoint import open_checkpoint  # loads torch

    events = open_checkpoint(blobs, checkpoint).events
    return None if events is None else read_verified(blobs, events)
