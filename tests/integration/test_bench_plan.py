"""`primitives bench plan` over the embedded form, on a data set so small that its durations mean nothing."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench import machine
from bench.commands import bench_app
from tests.fakes.ddsm import make_ddsm
from tests.integration.embedded import STAGES, embedded

COUNTS = {"train": 24, "val": 16}


@pytest.mark.long
def test_the_figures_have_their_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last line is JSON with floor, wall time, overhead, and each stage with its gap. Floor and plan have the same
    losses, pictures and units."""
    with embedded(tmp_path / "home") as home:
        done = home.command("dataset", "import", str(make_ddsm(tmp_path / "ddsm", COUNTS)), "--classes", "3")
        dataset_id = json.loads(done.stdout)["dataset_id"]
        for name, value in home.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(machine, "QUIET_LIMIT_S", 0.0)
        words = ["plan", "--quick", "--json", "--dataset", dataset_id]
        answer = CliRunner().invoke(bench_app, words, catch_exceptions=False)
    figures = json.loads(answer.stdout.splitlines()[-1])
    assert (figures["bench"], figures["runs"], figures["target"]) == ("plan", 1, 0.05)
    assert figures["same_results"]
    assert len(figures["results"]["val_loss"]) == 2
    assert list(figures["stages"]) == list(STAGES)
    assert figures["compute_s"] == pytest.approx(sum(one["compute_s"] for one in figures["stages"].values()), abs=0.01)
    assert figures["overhead"] == pytest.approx(figures["wall_s"] / figures["compute_s"] - 1, abs=0.01)
    assert {"torch", "threads", "device", "busy_before"} < set(figures["machine"])


def test_missing_services_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without services the bench ends at once and names their addresses."""
    monkeypatch.setenv("PRIMITIVES_HOME", str(tmp_path))
    for name in ("TRAINING", "EXTRACTION", "RENDERING", "ANNOTATION"):
        monkeypatch.setenv(f"PRIMITIVES_{name}_HTTP_PORT", "1")
    answer = CliRunner().invoke(bench_app, ["plan", "--quick", "--json"])
    assert "no service answers at http://127.0.0.1:1" in str(answer.exception)
