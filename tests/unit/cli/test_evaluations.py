"""The tables of `primitives evaluate` and `compare`."""

import json
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from fastapi import FastAPI, Header, Response
from typer.testing import CliRunner

from services.cli.main import app
from services.common.errors import PrimitivesError
from tests.fakes.serving import serving_http

ESTIMATE = {"value": 0.87654, "low": 0.8, "high": 0.95, "replicates": 100, "reason": ""}
ABSENT = {"value": None, "low": None, "high": None, "replicates": 0, "reason": "the split has no patch of class benign"}
POINT = {"specificity": 0.9, "sensitivity": 0.5, "threshold": 0.3}
REPORT = {
    "evaluation_id": "evaluation-1",
    "split": "test",
    "patches": 30,
    "patients": 4,
    "settings": {"specificities": [0.9]},
    "macro_auc": ABSENT,
    "micro_auc": ESTIMATE | {"low": None, "reason": "no interval: one patient"},
    "accuracy": 0.75,
    "brier": 0.2,
    "calibration": {"error": 0.05},
    "classes": [
        {"name": "cancer", "patches": 30, "auc": ESTIMATE, "average_precision": 0.8, "brier": 0.1, "roc": {},
         "precision_recall": {}, "sensitivities": [POINT]},
        {"name": "benign", "patches": 0, "auc": ABSENT, "average_precision": None, "brier": None, "roc": {},
         "precision_recall": {}, "sensitivities": []},
    ],
}  # fmt: skip
PROGRESS = {"phase": "", "done": 8.0, "total": 30.0, "unit": "patches"}
TEST = {"p": 0.0123}
ROW = {"name": "cancer", "a": 0.9, "b": 0.8, "difference": ESTIMATE, "delong": TEST, "clustered": TEST}
COMPARISON = {
    "evaluation_a": "evaluation-1",
    "evaluation_b": "evaluation-2",
    "patches": 30,
    "patients": 4,
    "classes": [ROW],
    "macro": ROW | {"name": "macro", "a": None, "b": None, "difference": ABSENT, "delong": {"p": None}},
    "micro": ROW,
}


@dataclass
class Service:
    """Answers as the training service does. The evaluation has ended with `state` when it is followed."""

    state: str = "completed"
    posted: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    def app(self) -> FastAPI:
        """Make the application."""
        app, evaluation = FastAPI(), "/v1/evaluations/evaluation-1"
        view = {"evaluation_id": "evaluation-1", "state": "running", "progress": PROGRESS, "error": ""}

        @app.post("/v1/evaluations")
        def start(request: dict[str, Any], idempotency_key: Annotated[str, Header()] = "") -> dict[str, Any]:
            self.posted.append(("/v1/evaluations", request))
            self.keys.append(idempotency_key)
            return view

        @app.get(f"{evaluation}/events")
        def events() -> Response:
            ended = view | {"state": self.state, "error": "it broke"}
            return Response("".join(f"data: {json.dumps(one)}\n\n" for one in (view, ended)))

        @app.post("/v1/comparisons")
        def compare() -> dict[str, Any]:
            return COMPARISON

        app.get(f"{evaluation}/report")(lambda: REPORT)
        return app


def run(monkeypatch: pytest.MonkeyPatch, service: Service, *words: str) -> Any:
    """Run the command against the service, in a wide terminal."""
    with serving_http(service.app()) as base:
        monkeypatch.setenv("PRIMITIVES_TRAINING_HTTP_PORT", base.split(":")[2])
        return CliRunner().invoke(app, words, env={"COLUMNS": "200"})


def test_evaluate_prints_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """evaluate prints figures with intervals, or the reason why a figure is missing."""
    service = Service()
    done = run(monkeypatch, service, "evaluate", "run-1", "--split", "test", "--checkpoint", "best", "--key", "key-1")
    assert done.exit_code == 0, done.output
    assert service.keys == ["key-1"]
    [(path, body)] = service.posted
    assert (path, body["run_id"], body["split"], body["checkpoint"]) == ("/v1/evaluations", "run-1", "test", "best")
    for text in (
        "0.877 (0.800 to 0.950)",
        "sensitivity at 0.9",
        "no patch of class benign",
        "micro 0.877 (no interval",
    ):
        assert text in done.output


def test_a_failed_evaluation_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """evaluate raises PrimitivesError with the evaluation's own message."""
    done = run(monkeypatch, Service("failed"), "evaluate", "run-1")
    assert isinstance(done.exception, PrimitivesError)
    assert str(done.exception) == "evaluation evaluation-1 failed: it broke"


def test_compare_prints_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """compare prints both AUCs, their difference and the p values; a dash for a missing one."""
    done = run(monkeypatch, Service(), "compare", "evaluation-1", "evaluation-2")
    assert done.exit_code == 0, done.output
    lines = [line for line in done.output.splitlines() if "0.0123" in line]
    assert "cancer" in lines[0] and "0.877 (0.800 to 0.950)" in lines[0]
    assert "macro" in lines[1] and done.output.count("no patch of class benign") == 1
