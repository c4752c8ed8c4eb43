"""Shows how far something is: the stages of a plan (bars in a terminal, lines elsewhere), or a count."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
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
    """A bar a stage in a terminal; where there is none, a line at each change of phase and every ten seconds."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description:<11}"),
            BarColumn(bar_width=32),
            TextColumn("{task.fields[told]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, tuple[str, float]] = {}

    def __enter__(self) -> "StageBars":
        self._bars.start()
        for name in STAGES:
            self._tasks[name] = self._bars.add_task(name, total=1, told="", start=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, stages: list[dict[str, Any]]) -> None:
        """Take the newest state of the stages."""
        for stage in stages:
            told = describe(stage)
            if self._console.is_terminal:
                self._show_bar(stage, told)
            else:
                self._say(stage, told)

    def _show_bar(self, stage: dict[str, Any], told: str) -> None:
        task, progress = self._tasks[stage["name"]], stage["progress"]
        self._bars.start_task(task)
        if stage["state"] == "completed":
            self._bars.update(task, total=1, completed=1, told=told)
            self._bars.stop_task(task)
        else:
            self._bars.update(task, total=progress["total"] or None, completed=progress["done"], told=told)

    def _say(self, stage: dict[str, Any], told: str) -> None:
        phase, when = self._said.get(stage["name"], ("", 0.0))
        now_phase = f"{stage['state']} {stage['progress']['phase']}"
        if now_phase != phase or (stage["state"] == "running" and time.monotonic() - when > LINE_INTERVAL_S):
            self._said[stage["name"]] = (now_phase, time.monotonic())
            self._console.print(f"{stage['name']:<11} {told}", highlight=False)


def describe(stage: dict[str, Any]) -> str:
    """A stage in words: "epoch 2 of 6, 57 of 228 steps"."""
    progress = stage["progress"]
    if stage["state"] in ("completed", "failed", "cancelled"):
        return f"{stage['state']} in {stage['seconds']:.1f} s"
    if not progress["total"]:
        return str(stage["state"])
    told = f"{progress['phase']}, {progress['done']:.0f} of {progress['total']:.0f} {progress['unit']}"
    return f"paused at {told}" if stage["state"] == "paused" else told


@contextmanager
def progress_bar(unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar over things of one kind; gives what to call with how many are done, and of how many."""
    columns = (TextColumn(unit), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(unit, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
