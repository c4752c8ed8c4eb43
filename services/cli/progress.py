"""Shows progress: the stages of a plan (bars in a terminal, lines elsewhere), or a count."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_INTERVAL_S = 10.0
STAGES = ("dataset", "training", "extraction", "rendering", "study")


class StageBars:
    """One bar per stage in a terminal. Elsewhere, a line at each change of phase and every ten seconds."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description:<11}"),
            BarColumn(bar_width=32),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._printed: dict[str, tuple[str, float]] = {}

    def __enter__(self) -> "StageBars":
        self._bars.start()
        for name in STAGES:
            self._tasks[name] = self._bars.add_task(name, total=1, text="", start=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def print_line(self, text: str) -> None:
        """Print a line above the bars."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def show(self, stages: list[dict[str, Any]]) -> None:
        """Show the newest state of the stages."""
        for stage in stages:
            text = describe(stage)
            if self._console.is_terminal:
                self._show_bar(stage, text)
            else:
                self._print_line(stage, text)

    def _show_bar(self, stage: dict[str, Any], text: str) -> None:
        task, progress = self._tasks[stage["name"]], stage["progress"]
        self._bars.start_task(task)
        if stage["state"] == "completed":
            self._bars.update(task, total=1, completed=1, text=text)
            self._bars.stop_task(task)
        else:
            self._bars.update(task, total=progress["total"] or None, completed=progress["done"], text=text)

    def _print_line(self, stage: dict[str, Any], text: str) -> None:
        last_phase, last_time = self._printed.get(stage["name"], ("", 0.0))
        phase = f"{stage['state']} {stage['progress']['phase']}"
        if phase != last_phase or (stage["state"] == "running" and time.monotonic() - last_time > LINE_INTERVAL_S):
            self._printed[stage["name"]] = (phase, time.monotonic())
            self._console.print(f"{stage['name']:<11} {text}", highlight=False)


def describe(stage: dict[str, Any]) -> str:
    """Describe a stage in a few words: "epoch 2 of 6, 57 of 228 steps"."""
    progress = stage["progress"]
    if stage["state"] in ("completed", "failed", "cancelled"):
        return f"{stage['state']} in {stage['seconds']:.1f} s"
    if not progress["total"]:
        return str(stage["state"])
    text = f"{progress['phase']}, {progress['done']:.0f} of {progress['total']:.0f} {progress['unit']}"
    return f"paused at {text}" if stage["state"] == "paused" else text


@contextmanager
def progress_bar(unit: str) -> Iterator[Callable[[float, float], None]]:
    """Show a bar that counts things of one kind. Yield the function that updates it with the counts done and total."""
    columns = (TextColumn(unit), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(unit, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def transfer_bar() -> Iterator[Callable[[int, int, int], None]]:
    """Show a bar that counts files, with the bytes and the speed of their transfer. Yield the function that updates it
    with the files done, the files in all, and the bytes received."""
    columns = (TextColumn("files"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[text]}"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task, began = progress.add_task("files", total=None, text=""), time.monotonic()

        def update(done: int, total: int, received: int) -> None:
            pace = decimal(round(received / max(0.1, time.monotonic() - began)))
            progress.update(task, completed=done, total=total, text=f"{decimal(received)}, {pace}/s")

        yield update
