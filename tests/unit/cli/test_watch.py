"""How far a run is, as the command shows it."""

import io
from typing import Any

from rich.console import Console

from services.cli.watch import describe, show


def view(state: str, done: float, *aucs: float | None) -> dict[str, Any]:
    """A run as its stream tells of it."""
    progress = {"phase": f"epoch {len(aucs) + 1} of 3", "done": done, "total": 30, "unit": "steps"}
    return {"state": state, "progress": progress, "epochs": [{"val_auc": auc} for auc in aucs], "error": ""}


def test_a_run_in_words() -> None:
    """Its phase while it runs, else its state, and the newest AUC where there is one."""
    assert describe(view("running", 3)) == "epoch 1 of 3"
    assert describe(view("running", 12, 0.51)) == "epoch 2 of 3, AUC 0.5100"
    assert describe(view("running", 12, None)) == "epoch 2 of 3"
    assert describe(view("paused", 12, 0.5, 0.75)) == "paused, AUC 0.7500"


def test_lines_are_few_where_there_is_no_terminal() -> None:
    """A line at each change of phase and every ten seconds; the last view is returned."""
    out, moments = io.StringIO(), iter(range(100))
    views = [view("running", n) for n in range(15)] + [view("completed", 30, 0.9)]
    last = show(views, Console(file=out, force_terminal=False, width=100), clock=lambda: next(moments))
    assert last["state"] == "completed"
    lines = out.getvalue().splitlines()
    assert lines[0] == "epoch 1 of 3, 0 of 30 steps"
    assert lines[-1] == "completed, AUC 0.9000, 30 of 30 steps"
    assert 3 <= len(lines) < len(views) / 2


def test_a_terminal_sees_rate_and_time_left() -> None:
    """The bar tells how many steps a second there are, and when they will be done."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    show([view("running", n) for n in range(0, 30, 3)], console)
    assert "steps/s" in out.getvalue()
    assert "27/30" in out.getvalue()
    assert "0:00:0" in out.getvalue()
