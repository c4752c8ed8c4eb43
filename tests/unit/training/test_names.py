"""Names of runs: given at the start or later, over HTTP and gRPC."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from primitives.training.v1 import training_pb2 as pb
from primitives.training.v1.training_pb2_grpc import TrainingServiceStub
from pydantic import ValidationError

from services.common.errors import NotFound
from services.common.http.app import create_app
from services.common.http.streams import Streams
from services.training.api import add_routes
from services.training.schemas import ChangeRunRequest, PlanDataset, PlanNetwork, StartRunRequest
from tests.fakes.serving import training_channel
from tests.unit.training.test_workflow import SETTINGS, Training

NAME = "Deep <b>&</b> wide, Größe 3"


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(tmp_path)


@pytest.fixture
def web(training: Training) -> TestClient:
    app: FastAPI = create_app("training", lambda: True)
    add_routes(app, training.datasets, training.runs, training.plans, Streams())
    return TestClient(app)


@pytest.fixture
def stub(training: Training) -> Iterator[TrainingServiceStub]:
    with training_channel(training.servicer()) as channel:
        yield TrainingServiceStub(channel)


def test_a_run_is_started_with_a_name_and_renamed(training: Training, web: TestClient) -> None:
    """The name is in the answer, in the list and in the run; it changes in any state, and an empty one removes it."""
    body = {"dataset_id": training.dataset_id, "settings": SETTINGS.model_dump(), "name": f"  {NAME} "}
    run = web.post("/v1/runs", json=body).json()
    assert run["name"] == NAME
    assert web.get("/v1/runs").json()["runs"][0]["name"] == NAME
    training.runs.act("cancel", run["run_id"])
    path = f"/v1/runs/{run['run_id']}"
    assert web.patch(path, json={"name": "Baseline"}).json()["name"] == "Baseline"
    assert web.patch(path, json={"name": ""}).json()["name"] == ""
    assert web.patch("/v1/runs/run-x", json={"name": "Baseline"}).status_code == 404


@pytest.mark.parametrize("name", ["x" * 121, "two\nlines", "hidden\u202eedoc", "zero\u200bwidth"])
def test_a_name_is_one_visible_line(training: Training, web: TestClient, name: str) -> None:
    """Longer names, and those with line breaks or characters that cannot be seen, are refused; nothing starts."""
    body = {"dataset_id": training.dataset_id, "settings": SETTINGS.model_dump(), "name": name}
    assert web.post("/v1/runs", json=body).status_code == 422
    assert training.sent() == []
    with pytest.raises(ValidationError):
        ChangeRunRequest(name=name)


def test_a_change_without_a_name_is_refused(web: TestClient) -> None:
    """An empty body does not remove the name."""
    assert web.patch("/v1/runs/run-1", json={}).status_code == 422


def test_the_run_of_a_plan_gets_the_name_of_the_plan_s_network(training: Training) -> None:
    """Also if its data set is built first. A plan with a completed run cannot name one."""
    training.plans.start(training.plan(dataset=PlanDataset(), network=PlanNetwork(train=SETTINGS, name=NAME)))
    [build] = training.sent()
    training.datasets.build(build)
    [built] = training.sent()
    training.plans.continue_with(built)
    [run] = training.runs.all().runs
    assert run.name == NAME
    training.runs.change(run.run_id, ChangeRunRequest(name="Later"))
    training.plans.continue_with(built)
    assert training.runs.get(run.run_id).name == "Later"
    with pytest.raises(ValidationError, match="pass name or run_id, not both"):
        PlanNetwork(run_id=run.run_id, name=NAME)


def test_a_run_is_renamed_over_grpc(training: Training, stub: TrainingServiceStub) -> None:
    """ChangeRun answers with the renamed run; a request without the field is not valid."""
    run = training.runs.start(StartRunRequest(dataset_id=training.dataset_id, settings=SETTINGS, name="First"))
    assert stub.GetRun(pb.GetRunRequest(run_id=run.run_id), timeout=10).run.name == "First"
    changed = stub.ChangeRun(pb.ChangeRunRequest(run_id=run.run_id, name=NAME), timeout=10).run
    assert (changed.run_id, changed.name) == (run.run_id, NAME)
    with pytest.raises(grpc.RpcError) as refused:
        stub.ChangeRun(pb.ChangeRunRequest(run_id=run.run_id), timeout=10)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert stub.ChangeRun(pb.ChangeRunRequest(run_id=run.run_id, name=""), timeout=10).run.name == ""


def test_an_unknown_run_cannot_be_renamed(training: Training) -> None:
    """NotFound names it."""
    with pytest.raises(NotFound, match="no run 'run-x'"):
        training.runs.change("run-x", ChangeRunRequest(name="a"))
