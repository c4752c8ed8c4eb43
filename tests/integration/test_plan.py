"""A plan over the embedded form: from an imported data set to an open study, killed and started again on the way."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from primitives.activation_extraction.v1 import activation_extraction_pb2, activation_extraction_pb2_grpc
from primitives.patch_rendering.v1 import patch_rendering_pb2, patch_rendering_pb2_grpc
from primitives.training.v1 import training_pb2, training_pb2_grpc

from services.cli.client import get, post
from services.common.bus import MemoryBus
from services.common.settings import Shared
from services.training.main import create
from services.training.settings import TrainingSettings
from tests.fakes.collector import Collector, collector
from tests.fakes.ddsm import make_ddsm, make_outlines
from tests.integration.embedded import LIMIT_S, STAGES, Embedded, embedded

COUNTS = {"train": 48, "val": 24, "test": 6}
NETWORK: dict[str, Any] = {
    "train": {
        "architecture": "test_resnet", "weights": "none", "image_size": 64, "epochs": 3, "batch_size": 8,
        "learning_rate": 0.003,
    }
}  # fmt: skip
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
EXTRACTION = {"split": "val", "layers": ["layer3", "layer4"], "top_k": 8}


def import_data(home: Embedded, folder: Path, outlined: bool = False) -> str:
    """Import a small data set with the command, optionally with outlines on every mammogram. Return its id."""
    words = ["dataset", "import", str(make_ddsm(folder, COUNTS)), "--classes", "3"]
    if outlined:
        words += ["--outlines", str(make_outlines(folder))]
    done = home.command(*words)
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["dataset_id"])


def start_plan(home: Embedded, dataset_id: str, **changes: Any) -> None:
    post(home.services.training, "/v1/plans", plan_request(dataset_id) | changes)


def plan_request(dataset_id: str) -> dict[str, Any]:
    """Return the request of plan-1."""
    return {"plan_id": "plan-1", "dataset": {"dataset_id": dataset_id}, "network": NETWORK, "extraction": EXTRACTION}


def test_a_plan_leads_to_an_open_study(tmp_path: Path) -> None:
    """One call trains, extracts, renders and opens a study. HTTP and gRPC of each service return the same."""
    logging = {"PRIMITIVES_LOG_FORMAT": "json", "PRIMITIVES_LOG_LEVEL": "debug"}
    with (
        collector() as spans,
        embedded(tmp_path / "home", OTEL_EXPORTER_OTLP_ENDPOINT=spans.endpoint, **logging) as home,
    ):
        options = plan_request(import_data(home, tmp_path / "ddsm"))
        answer = httpx.post(
            f"{home.services.training}/v1/plans", json=options, headers={"traceparent": PARENT}, timeout=30
        )
        assert answer.is_success, answer.text
        stages = home.wait_for_plan("plan-1")
        assert list(stages) == list(STAGES)
        assert {stage["state"] for stage in stages.values()} == {"completed"}
        run = get(home.services.training, f"/v1/runs/{stages['training']['id']}")
        assert [epoch["epoch"] for epoch in run["epochs"]] == [1, 2, 3]
        assert 0 <= run["epochs"][-1]["val_auc"] <= 1
        extraction = get(home.services.activation_extraction, f"/v1/extractions/{stages['extraction']['id']}")
        assert [layer["name"] for layer in extraction["results"]] == ["layer3", "layer4"]
        assert extraction["patches"] == COUNTS["val"]
        rendering = get(home.services.patch_rendering, f"/v1/renderings/{stages['rendering']['id']}")
        units = sum(layer["units"] for layer in extraction["results"])
        assert 0 < rendering["pictures"] <= units * 8
        check_metrics(home, rendering)
        check_grpc(home, run, extraction, rendering)
        check_again(home)
        assert home.stop() == 0  # which hands over the last spans
    check_trace(spans, stages)
    check_logs(tmp_path / "home" / "up.log", stages)


def check_trace(spans: Collector, stages: dict[str, Any]) -> None:
    """The caller's trace follows the plan through all four services, from the request over every message and job to the
    study. Each span has a parent in the trace and names its plan or task."""
    trace = spans.traces[PARENT[3:35]]
    assert {one.service for one in trace} == {
        "training", "activation_extraction", "patch_rendering", "annotation",
    }  # fmt: skip
    names = {one.name for one in trace}
    assert names >= {
        "POST /v1/plans",
        "publish TrainSlice", "handle TrainSlice", "job train_slice",
        "publish RunCompleted", "handle RunCompleted",
        "publish ExtractShard", "handle ExtractShard", "job extract_shard",
        "publish MergeExtraction", "handle MergeExtraction", "job merge_extraction",
        "publish ExtractionCompleted", "handle ExtractionCompleted",
        "publish RenderUnits", "handle RenderUnits", "job render_units",
        "publish RenderingCompleted", "handle RenderingCompleted",
        "publish OpenStudy", "handle OpenStudy",
    }  # fmt: skip
    known = {one.id for one in trace} | {PARENT[36:52]}
    assert [one.name for one in trace if one.parent not in known] == []
    jobs = [one for one in trace if one.name.startswith("job ")]
    assert {one.attributes["primitives.plan_id"] for one in jobs} == {"plan-1"}
    tasks = {stages[stage]["id"] for stage in ("training", "extraction", "rendering")}
    assert {one.attributes["primitives.task_id"] for one in jobs} == tasks


def check_logs(log: Path, stages: dict[str, Any]) -> None:
    """Every line is JSON. Lines of a job in its child process and of a message name their plan, task and trace."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {"service started", "service stopped"} <= {line["event"] for line in lines}
    for event in ("job begins", "message processed"):
        of_plan = [line for line in lines if line["event"] == event and line.get("plan_id") == "plan-1"]
        assert {line["trace_id"] for line in of_plan} == {PARENT[3:35]}
        tasks = {stages[stage]["id"] for stage in ("training", "extraction", "rendering")}
        assert {line["task_id"] for line in of_plan if "task_id" in line} == tasks


def check_metrics(home: Embedded, rendering: dict[str, Any]) -> None:
    """Each service reports its own share of the plan, and its own status at /v1/status."""
    shown = {name: httpx.get(f"{base}/metrics", timeout=10).text for name, base in asdict(home.services).items()}
    counts = {
        "training": ("images_trained", NETWORK["train"]["epochs"] * COUNTS["train"]),
        "activation_extraction": ("patches_extracted", COUNTS["val"]),
        "patch_rendering": ("pictures_rendered", rendering["pictures"]),
    }
    for name, (noun, count) in counts.items():
        assert f'primitives_{noun}_total{{service="{name}"}} {float(count)}' in shown[name]
        assert sum(f"primitives_{noun}_total{{" in text for text in shown.values()) == 1
    for name, text in shown.items():
        assert set(re.findall(r'[{,]service="([a-z_]+)"', text)) == {name}
        status = get(getattr(home.services, name), "/v1/status")
        assert status["service"] == name and all(one["reachable"] for one in status["dependencies"])
        assert sum(task["states"]["completed"] for task in status["tasks"]) == 1
        assert {queue["parked"] for queue in status["queues"]} == {0}
        assert status["last_error"] is None


def check_grpc(home: Embedded, run: dict[str, Any], extraction: dict[str, Any], rendering: dict[str, Any]) -> None:
    """Each service answers over gRPC as over HTTP."""
    with grpc.insecure_channel(f"127.0.0.1:{home.grpc['TRAINING']}") as channel:
        training = training_pb2_grpc.TrainingServiceStub(channel)
        found = training.GetRun(training_pb2.GetRunRequest(run_id=run["run_id"]), timeout=10).run
        assert [epoch.val_loss for epoch in found.epochs] == [epoch["val_loss"] for epoch in run["epochs"]]
        with pytest.raises(grpc.RpcError) as failure:
            training.StartRun(training_pb2.StartRunRequest(dataset_id="none"), timeout=10)
        assert failure.value.code() is grpc.StatusCode.NOT_FOUND
    with grpc.insecure_channel(f"127.0.0.1:{home.grpc['EXTRACTION']}") as channel:
        stub = activation_extraction_pb2_grpc.ActivationExtractionServiceStub(channel)
        options = activation_extraction_pb2.GetUnitRequest(
            extraction_id=extraction["extraction_id"], layer="layer4", unit=3
        )
        unit = stub.GetUnit(options, timeout=10).unit
        path = f"/v1/extractions/{extraction['extraction_id']}/layers/layer4/units/3"
        over_http = get(home.services.activation_extraction, path)
        assert (unit.name, len(unit.top)) == ("unit_0004", 8)
        assert [top.value for top in unit.top] == [top["value"] for top in over_http["top"]]
        assert [top.value for top in unit.top] == sorted((top.value for top in unit.top), reverse=True)
    with grpc.insecure_channel(f"127.0.0.1:{home.grpc['RENDERING']}") as channel:
        stub = patch_rendering_pb2_grpc.PatchRenderingServiceStub(channel)
        active = next(n for n in range(64) if picture(home, rendering["rendering_id"], n, 1).status_code == 200)
        options = patch_rendering_pb2.GetPictureRequest(
            rendering_id=rendering["rendering_id"], layer="layer4", unit=active, rank=1
        )
        jpeg = stub.GetPicture(options, timeout=10).jpeg
        assert jpeg == picture(home, rendering["rendering_id"], active, 1).content
        assert jpeg.startswith(b"\xff\xd8")


def picture(home: Embedded, rendering_id: str, unit: int, rank: int) -> httpx.Response:
    path = f"/v1/renderings/{rendering_id}/layers/layer4/units/{unit}/pictures/{rank}.jpg"
    return httpx.get(f"{home.services.patch_rendering}{path}", timeout=10)


def check_again(home: Embedded) -> None:
    """The same plan again starts nothing. A second plan uses the trained run with other layers."""
    before = home.count()
    run_id = get(home.services.training, "/v1/runs")["runs"][0]["run_id"]
    dataset_id = get(home.services.training, "/v1/datasets")["datasets"][0]["dataset_id"]
    start_plan(home, dataset_id)
    start_plan(
        home,
        dataset_id,
        plan_id="plan-2",
        network={"run_id": run_id},
        extraction={"split": "test", "layers": ["layer2"], "top_k": 3},
    )
    stages = home.wait_for_plan("plan-2")
    assert list(stages) == ["extraction", "rendering", "study"]
    after = home.count()
    assert after == {"runs": before["runs"], "extractions": 2, "renderings": 2}


def test_a_plan_survives_being_killed(tmp_path: Path) -> None:
    """The services are killed with `kill -9` while they train, extract and render, and are started again. The plan
    completes once, and `primitives plan watch` follows it through all of this to its end."""
    home = Embedded(tmp_path / "home")
    home.environment |= {"PRIMITIVES_RENDERING_GROUP_UNITS": "4"}
    home.start()
    try:
        start_plan(home, import_data(home, tmp_path / "ddsm"))
        watching = subprocess.Popen(
            [sys.executable, "-m", "services.cli", "plan", "watch", "plan-1"],
            env=home.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert watching.stderr is not None
        first = watching.stderr.readline()  # so that it has begun before the first kill
        for stage in ("training", "extraction", "rendering"):
            home.wait_for(lambda s=stage: home.stages("plan-1").get(s, {}).get("state") in ("running", "completed"))
            home.kill()
            home.start()
        stages = home.wait_for_plan("plan-1")
        assert home.count() == {"runs": 1, "extractions": 1, "renderings": 1}
        run = get(home.services.training, f"/v1/runs/{stages['training']['id']}")
        assert [epoch["epoch"] for epoch in run["epochs"]] == [1, 2, 3]
        printed, lines = watching.communicate(timeout=LIMIT_S)
        assert watching.returncode == 0, first + lines
        assert [(one["name"], one["state"]) for one in json.loads(printed)] == [(one, "completed") for one in STAGES]
        assert lines.count("; waiting for it") == lines.count("answers again after") >= 1, first + lines
    finally:
        assert home.stop() == 0


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v1/plans", {"extraction": {"layers": ["conv9"]}}, 422, "has no layer 'conv9'; it has"),
        ("/v1/plans", {"extraction": {"split": "test"}}, 422, "data set sample has no split 'test'; it has train, val"),
        ("/v1/plans", {"network": {"train": {"architecture": "nope"}}}, 422, "network 'nope' is not known"),
        ("/v1/plans", {"network": {"train": {"epoch": 3}}}, 422, "epoch"),
        ("/v1/plans", {"dataset": {"dataset_id": "dataset-x"}}, 404, "no data set 'dataset-x'"),
        ("/v1/runs", {"dataset_id": "dataset-x"}, 404, "no data set 'dataset-x'"),
        ("/v1/runs/run-x/cancel", {}, 404, "no run 'run-x'"),
    ],
)
def test_bad_requests_are_refused_with_a_reason(
    training: str, path: str, body: dict[str, Any], status: int, words: str
) -> None:
    """An impossible request is refused with its code and the reason, and nothing is registered."""
    answer = httpx.post(f"{training}{path}", json=body, timeout=30)
    assert answer.status_code == status
    assert words in answer.text
    assert [get(training, f"/v1/{kind}")["total"] for kind in ("plans", "datasets", "runs")] == [0, 0, 0]


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the training service, which answers and runs no work: nothing that is refused needs a child."""
    shared, bus = Shared(home=tmp_path_factory.mktemp("served")), MemoryBus()
    service = create(TrainingSettings(shared=shared, http_port=0, grpc_port=0), bus)
    service.ports.outbox.start()
    service.http.start()
    yield f"http://127.0.0.1:{service.http.port}"
    service.stop()
    bus.close()
    service.ports.records.close()


def test_a_bad_import_names_file_and_line(tmp_path: Path) -> None:
    """The command prints one line with file, line and the expectation, exits with 1, and registers nothing."""
    home = Embedded(tmp_path / "home")
    folder = make_ddsm(tmp_path / "ddsm", {"train": 3, "val": 3})
    (folder / "val.txt").write_text("images/1/missing.jpg 0\n")
    done = home.command("dataset", "import", str(folder), "--classes", "3")
    assert done.returncode == 1
    [line] = [line for line in done.stderr.splitlines() if line.startswith("primitives: ")]
    assert "val.txt:1: the file images/1/missing.jpg does not exist" in line
    assert json.loads(home.command("dataset", "list").stdout) == []
