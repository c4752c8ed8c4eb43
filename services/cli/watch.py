"""Follows a task to its end. A terminal shows a bar with rate and remaining time; elsewhere lines are printed."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from services.cli.connection import Connection
from services.common.errors import PrimitivesError

LINE_INTERVAL_S = 10.0


class RateColumn(ProgressColumn):
    """Steps per second over the last moments."""

    def render(self, task: Task) -> Text:
        """Return the rate; empty before it is known."""
        return Text(f"{task.speed:.1f} {task.fields['unit']}/s" if task.speed else "")


def watch_run(base: str, run_id: str, known: bool = False) -> dict[str, Any]:
    """Show a run until it has completed and return its last view; `known` and errors as for `follow_task`."""
    return follow_task(base, f"/v1/runs/{run_id}", f"run {run_id}", describe_run, known)


def follow_task(
    base: str, path: str, name: str, describe: Callable[[dict[str, Any]], str], known: bool = True
) -> dict[str, Any]:
    """Show the task at a path until it has completed and return its last view, however often the connection is lost.

    PrimitivesError with the task's own message if it fails or is cancelled. `known` is false if no call to `base` has
    been answered before: see `Connection`.
    """
    console = Console(stderr=True)

    def notice(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    view = show(Connection(base, notice, known=known).task(path), console, describe)
    if view["state"] != "completed":
        raise PrimitivesError(f"{name} {view['state']}: {view['error']}")
    return view


def show(
    views: Iterable[dict[str, Any]],
    console: Console,
    describe: Callable[[dict[str, Any]], str],
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Show each view of a task as it arrives and return the last one."""
    task: dict[str, Any] = {}
    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=32), MofNCompleteColumn(), RateColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        bar = bars.add_task("", total=None, unit="")
        printed, printed_at = "", -LINE_INTERVAL_S
        for task in views:
            progress, phase = task["progress"], describe(task)
            bars.update(
                bar, description=phase, total=progress["total"] or None, completed=progress["done"],
                unit=progress["unit"],
            )  # fmt: skip
            if not console.is_terminal and (phase != printed or clock() - printed_at >= LINE_INTERVAL_S):
                printed, printed_at = phase, clock()
                console.print(
                    f"{phase}, {progress['done']:g} of {progress['total']:g} {progress['unit']}", highlight=False
                )
    return task


def describe_run(run: dict[str, Any]) -> str:
    """Describe a run in a few words: its phase and the AUC of its last epoch."""
    phase = run["progress"]["phase"] if run["state"] == "running" and run["progress"]["phase"] else run["state"]
    last = run["epochs"][-1] if run["epochs"] else None
    if last is None or last["val_auc"] is None:
        return str(phase)
    return f"{phase}, AUC {last['val_auc']:.4f}"
