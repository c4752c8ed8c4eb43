"""The command evaluates, compares and exports a network that was trained in the embedded form."""

import json
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from primitives.training.v1 import evaluation_pb2, training_pb2, training_pb2_grpc
from safetensors import safe_open

from services.cli.client import get, post
from tests.integration.embedded import Embedded, embedded
from tests.integration.test_plan import COUNTS, NETWORK, import_data


def run_command(home: Embedded, *words: str) -> Any:
    """Run `primitives …` and return the JSON object on its last line."""
    done = home.command(*words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_trained_network_is_evaluated_compared_and_exported(tmp_path: Path) -> None:
    """The evaluation has the AUC of the run's last epoch. HTTP, gRPC and the command return the same. No stored object
    is garbage, and the exported files exist."""
    with embedded(tmp_path / "home") as home:
        base = home.services.training
        dataset_id = import_data(home, tmp_path / "ddsm")
        settings = NETWORK["train"] | {"keep": "last", "checkpoint_epochs": 1}
        run_id = post(base, "/v1/runs", {"dataset_id": dataset_id, "settings": settings})["run_id"]
        home.wait_for(lambda: bool(get(base, f"/v1/runs/{run_id}")["state"] == "completed"))
        run = get(base, f"/v1/runs/{run_id}")
        report = run_command(home, "evaluate", run_id, "--split", "val", "--replicates", "200", "--json")
        assert report["patches"] == COUNTS["val"] and report["patients"] == 2
        assert report["macro_auc"]["value"] == pytest.approx(run["epochs"][-1]["val_auc"], abs=1e-6)
        first = run_command(home, "evaluate", run_id, "--checkpoint", "1", "--replicates", "200", "--json")
        assert first["checkpoint_id"] != report["checkpoint_id"]
        comparison = run_command(home, "compare", report["evaluation_id"], first["evaluation_id"], "--json")
        assert comparison["macro"]["a"] == report["macro_auc"]["value"]
        assert [row["name"] for row in comparison["classes"]] == ["normal", "benign", "cancer"]
        check_edges(home, report, comparison)
        check_export(home, run_id, tmp_path)
        checked = json.loads(home.command("check", "--deep").stdout)
        assert checked["faults"] == []
        assert not any("evaluations/" in key for key in checked["unnamed"]["training"]["manifests"])


def check_edges(home: Embedded, report: dict[str, Any], comparison: dict[str, Any]) -> None:
    """Check report, figure, events and comparison over HTTP and gRPC."""
    path = f"{home.services.training}/v1/evaluations/{report['evaluation_id']}"
    figure = httpx.get(f"{path}/figures/roc.svg", timeout=30)
    assert (figure.status_code, figure.headers["content-type"]) == (200, "image/svg+xml")
    assert httpx.get(f"{path}/figures/rock.svg", timeout=30).status_code == 404
    events = httpx.get(f"{path}/events", timeout=30).text
    assert '"state":"completed"' in events
    assert len(httpx.get(f"{path}/report", timeout=30).json()["classes"][0]["roc"]["x"]) > 2
    with grpc.insecure_channel(f"127.0.0.1:{home.grpc['TRAINING']}") as channel:
        stub = training_pb2_grpc.TrainingServiceStub(channel)
        options = evaluation_pb2.GetEvaluationReportRequest(evaluation_id=report["evaluation_id"])
        assert stub.GetEvaluationReport(options, timeout=30).report.accuracy == report["accuracy"]
        watched = list(
            stub.WatchEvaluation(
                evaluation_pb2.WatchEvaluationRequest(evaluation_id=report["evaluation_id"]), timeout=30
            )
        )
        assert [one.evaluation.state for one in watched] == ["completed"]
        one = evaluation_pb2.GetComparisonRequest(comparison_id=comparison["comparison_id"])
        assert stub.GetComparison(one, timeout=30).comparison.micro.b == comparison["micro"]["b"]
        with pytest.raises(grpc.RpcError) as failure:
            stub.PauseEvaluation(
                evaluation_pb2.PauseEvaluationRequest(evaluation_id=report["evaluation_id"]), timeout=30
            )
        assert failure.value.code() is grpc.StatusCode.ABORTED
        assert stub.ListRuns(training_pb2.ListRunsRequest(), timeout=30).runs


def check_export(home: Embedded, run_id: str, folder: Path) -> None:
    """Export both formats with the command."""
    exported = json.loads(home.command("export", run_id, "--out", str(folder / "n.safetensors")).stdout)
    with safe_open(folder / "n.safetensors", "pt") as file:
        assert file.metadata()["checkpoint_id"] == exported["checkpoint_id"]
    onnx = run_command(home, "export", run_id, "--format", "onnx", "--out", str(folder / "n.onnx"))
    assert onnx["difference"] < onnx["tolerance"] and (folder / "n.onnx").stat().st_size > 100_000
