"""How the command shows a run's progress."""

import io
from typing import Any

from rich.console import Console

from services.cli.watch import describe_run, show


def view(state: str, done: float, *aucs: float | None) -> dict[str, Any]:
    """A run as its stream sends it."""
    progress = {"phase": f"epoch {len(aucs) + 1} of 3", "done": done, "total": 30, "unit": "steps"}
    return {"state": state, "progress": progress, "epochs": [{"val_auc": auc} for auc in aucs], "error": ""}


def test_a_run_is_described() -> None:
    """describe_run returns the phase while a run is running, else the state, and the newest AUC if there is one."""
    assert describe_run(view("running", 3)) == "epoch 1 of 3"
    assert describe_run(view("running", 12, 0.51)) == "epoch 2 of 3, AUC 0.5100"
    assert describe_run(view("running", 12, None)) == "epoch 2 of 3"
    assert describe_run(view("paused", 12, 0.5, 0.75)) == "paused, AUC 0.7500"


def test_lines_are_few_without_a_terminal() -> None:
    """show prints a line at each change of phase and every ten seconds, and returns the last view."""
    out, moments = io.StringIO(), iter(range(100))
    views = [view("running", n) for n in range(15)] + [view("completed", 30, 0.9)]
    last = show(views, Console(file=out, force_terminal=False, width=100), describe_run, clock=lambda: next(moments))
    assert last["state"] == "completed"
    lines = out.getvalue().splitlines()
    assert lines[0] == "epoch 1 of 3, 0 of 30 steps"
    assert lines[-1] == "completed, AUC 0.9000, 30 of 30 steps"
    assert 3 <= len(lines) < len(views) / 2


def test_a_terminal_shows_rate_and_remaining_time() -> None:
    """The bar shows steps per second and the remaining time."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    show([view("running", n) for n in range(0, 30, 3)], console, describe_run)
    assert "steps/s" in out.getvalue()
    assert "27/30" in out.getvalue()
    assert "0:00:0" in out.getvalue()
