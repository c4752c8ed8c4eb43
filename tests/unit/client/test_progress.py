"""Bars of the Python client in a notebook, in a terminal and in a log."""

import io
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from primitives_client.models.common import Progress
from primitives_client.progress import (
    Bar,
    LineDisplay,
    NotebookDisplay,
    TerminalDisplay,
    as_html,
    as_line,
    bar_of,
    find_display,
)

HALF = Progress(phase="epoch 2 of 4", done=57, total=114, unit="steps")


@pytest.mark.parametrize(
    ("state", "progress", "seconds", "text", "share"),
    [
        ("queued", Progress(), None, "queued", 0.0),
        ("running", HALF, None, "epoch 2 of 4, 57 of 114 steps", 0.5),
        ("paused", HALF, None, "paused at epoch 2 of 4, 57 of 114 steps", 0.5),
        ("completed", HALF, 12.34, "completed in 12.3 s", 1.0),
        ("failed", HALF, None, "failed", 0.0),
    ],
)
def test_a_bar_says_how_far_a_task_is(
    state: str, progress: Progress, seconds: float | None, text: str, share: float
) -> None:
    """In the words of the command."""
    bar = bar_of("training", state, progress, seconds)
    assert (bar.text, bar.share) == (text, share)


def test_a_terminal_has_a_line_for_each_bar() -> None:
    """Each change writes over the lines before."""
    stream = io.StringIO()
    display = TerminalDisplay(stream)
    display.show([bar_of("training", "running", HALF)])
    display.show([bar_of("training", "completed", HALF, 3.0), bar_of("extraction", "queued", Progress())])
    first, second = stream.getvalue().split("\x1b[1F")
    assert first.count("\n") == 1 and second.count("\n") == 2
    assert as_line(bar_of("training", "running", HALF)).count("━") == 16


def test_a_log_has_a_line_for_each_phase() -> None:
    """Steps within a phase are not printed."""
    stream = io.StringIO()
    display = LineDisplay(stream)
    for done in (1, 2, 3):
        display.show([bar_of("training", "running", Progress(phase="epoch 1", done=done, total=9, unit="steps"))])
    display.show([bar_of("training", "completed", HALF, 3.0)])
    assert stream.getvalue().splitlines() == ["training    epoch 1, 1 of 9 steps", "training    completed in 3.0 s"]


def test_a_notebook_has_a_table_that_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first call displays it; later calls update the same one."""
    shown: list[Any] = []
    handle = SimpleNamespace(update=lambda table: shown.append(("update", table.data)))

    def display(table: Any, display_id: bool) -> Any:
        shown.append(("display", table.data))
        assert display_id
        return handle

    monkeypatch.setattr("IPython.display.display", display)
    one = NotebookDisplay()
    one.show([bar_of("training", "running", HALF)])
    one.show([bar_of("training", "completed", HALF, 1.0)])
    assert [kind for kind, _ in shown] == ["display", "update"]
    assert 'value="0.5000"' in shown[0][1]


def test_bars_of_a_notebook_hold_no_markup_of_others() -> None:
    """A phase is text, and a bar without a total moves."""
    assert as_html([Bar("a", "running", "<script>", 0, 0)]).count("<script>") == 0
    assert "<progress>" in as_html([Bar("a", "running", "x", 0, 0)])


@pytest.mark.parametrize(
    ("shell", "is_terminal", "expected"),
    [
        (SimpleNamespace(kernel=None), True, NotebookDisplay), (SimpleNamespace(), True, TerminalDisplay),
        (None, True, TerminalDisplay), (None, False, LineDisplay),
    ],
)  # fmt: skip
def test_the_display_is_that_of_the_place(
    monkeypatch: pytest.MonkeyPatch, shell: Any, is_terminal: bool, expected: type
) -> None:
    """A kernel is a notebook; IPython in a terminal is a terminal."""
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: is_terminal))
    assert isinstance(find_display(), expected)
