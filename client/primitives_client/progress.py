"""Bars that show how far work is: in a notebook, in a terminal, or as lines anywhere else."""

import html
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

from primitives_client.models.common import Progress

LINE_INTERVAL_S = 10.0
WIDTH = 32
ENDED = ("completed", "failed", "cancelled")


@dataclass(frozen=True)
class Bar:
    """The state of one piece of work; `total` is 0 while it is not known."""

    name: str
    state: str
    text: str
    done: float
    total: float

    @property
    def share(self) -> float:
        """The part that is done, from 0 to 1."""
        return min(self.done / self.total, 1.0) if self.total else 0.0


class Display(Protocol):
    """Shows bars."""

    def show(self, bars: Sequence[Bar]) -> None:
        """Show the newest state of all bars."""
        ...


def bar_of(name: str, state: str, progress: Progress, seconds: float | None = None) -> Bar:
    """Return the bar of a task: "epoch 2 of 6, 57 of 228 steps"."""
    if state in ENDED:
        text = state if seconds is None else f"{state} in {seconds:.1f} s"
        return Bar(name, state, text, float(state == "completed"), 1.0)
    if not progress.total:
        return Bar(name, state, state, 0.0, 0.0)
    text = f"{progress.phase}, {progress.done:.0f} of {progress.total:.0f} {progress.unit}"
    return Bar(name, state, f"paused at {text}" if state == "paused" else text, progress.done, progress.total)


def find_display() -> Display:
    """Return the display for where this program runs."""
    shell = _shell()
    if shell is not None and hasattr(shell, "kernel"):
        return NotebookDisplay()
    return TerminalDisplay(sys.stderr) if sys.stderr.isatty() else LineDisplay(sys.stderr)


class NotebookDisplay:
    """A table of bars below the cell, which is replaced at each change."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, bars: Sequence[Bar]) -> None:
        """Show the newest state of all bars."""
        from IPython.display import HTML, display

        table: Any = HTML(as_html(bars))
        if self._handle is None:
            self._handle = display(table, display_id=True)
        else:
            self._handle.update(table)


class TerminalDisplay:
    """A line for each bar, which is written over at each change."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._lines = stream, 0

    def show(self, bars: Sequence[Bar]) -> None:
        """Show the newest state of all bars."""
        up = f"\x1b[{self._lines}F" if self._lines else ""
        self._stream.write(up + "".join(f"\x1b[2K{as_line(bar)}\n" for bar in bars))
        self._stream.flush()
        self._lines = len(bars)


class LineDisplay:
    """A line at each change of phase, and every ten seconds."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._printed: dict[str, tuple[str, float]] = {}

    def show(self, bars: Sequence[Bar]) -> None:
        """Print what has changed."""
        for bar in bars:
            phase = f"{bar.state} {bar.text.partition(',')[0]}"
            last_phase, last_time = self._printed.get(bar.name, ("", 0.0))
            if phase != last_phase or (bar.state == "running" and time.monotonic() - last_time > LINE_INTERVAL_S):
                self._printed[bar.name] = (phase, time.monotonic())
                self._stream.write(f"{bar.name:<11} {bar.text}\n")
        self._stream.flush()


def as_html(bars: Sequence[Bar]) -> str:
    """Return a table with a row for each bar."""
    rows = "".join(
        f"<tr><td>{html.escape(bar.name)}</td><td>{_element(bar)}</td><td>{html.escape(bar.text)}</td></tr>"
        for bar in bars
    )
    return f"<table>{rows}</table>"


def as_line(bar: Bar) -> str:
    """Return a bar as one line of text."""
    filled = round(bar.share * WIDTH)
    return f"{bar.name:<11} {'━' * filled}{' ' * (WIDTH - filled)} {bar.text}"


def _element(bar: Bar) -> str:
    value = f' value="{bar.share:.4f}"' if bar.total or bar.state != "running" else ""  # without a value it moves
    return f"<progress{value}></progress>"


def _shell() -> Any:
    """Return the shell of IPython if this program runs in one, without importing it otherwise."""
    module = sys.modules.get("IPython")
    return module.get_ipython() if module is not None else None
