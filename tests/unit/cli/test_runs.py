"""`primitives run` over the API of the training service."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from services.cli import client, datasets
from services.cli.main import app
from services.common.errors import InvalidInput, NotFound, PrimitivesError
from services.common.http.app import create_app
from services.common.http.streams import Streams
from services.training.api import add_routes
from services.training.original import PRESETS, OriginalNetwork, read_run
from services.training.schemas import RunSettings, StartRunRequest
from tests.unit.training.test_workflow import Training


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Training:
    """A training service that answers the calls of the command."""
    world = Training(tmp_path)
    api = create_app("training", ready=lambda: True)
    add_routes(api, world.datasets, world.runs, world.plans, Streams())
    answers = TestClient(api)

    def request(method: str, url: str, **options: Any) -> httpx.Response:
        return answers.request(method, httpx.URL(url).path, json=options["json"], headers=options["headers"])

    monkeypatch.setattr(client.httpx, "request", request)
    monkeypatch.setenv("PRIMITIVES_HOME", str(tmp_path / "home"))
    return world


def run(*words: str) -> Any:
    """Run `primitives run …` and return the JSON that it prints. Errors are raised."""
    return json.loads(CliRunner().invoke(app, ["run", *words], catch_exceptions=False).output)


def config(folder: Path, **training: Any) -> str:
    """Write a copy of the 3-class preset with changed values of `training`; return its path."""
    content = yaml.safe_load((PRESETS / "resnet152_3class.yml").read_text())
    content["training"] |= training
    file = folder / "config.yml"
    file.write_text(yaml.safe_dump(content))
    return str(file)


def test_a_command_with_a_key_starts_one_run(training: Training, tmp_path: Path) -> None:
    """The same command with the same key prints the same run; another command with that key is refused."""
    words = ("start", "--config", "resnet152_3class", "--dataset", training.dataset_id, "--key", "key-1")
    assert run(*words)["run_id"] == run(*words)["run_id"]
    assert len(training.sent()) == 1
    with pytest.raises(PrimitivesError, match=r"422 .*sent before with another request"):
        run("start", "--config", config(tmp_path, epochs=1), *words[3:])


def test_a_preset_is_started_and_listed(training: Training) -> None:
    """The run has the preset's settings and appears in the list, both as JSON."""
    started = run("start", "--config", "resnet152_3class", "--dataset", training.dataset_id)
    assert started["settings"] == read_run("resnet152_3class").run_settings().model_dump()
    assert (started["state"], started["last_checkpoint"]) == ("queued", None)
    assert run("list") == [started]
    [command] = training.sent()
    assert command.run_id == started["run_id"]


def test_a_run_has_a_name(training: Training) -> None:
    """It is given at the start, and changed later."""
    words = ("start", "--config", "resnet152_3class", "--dataset", training.dataset_id)
    started = run(*words, "--name", "Baseline")
    assert started["name"] == "Baseline"
    assert run("rename", started["run_id"], "First attempt")["name"] == "First attempt"
    assert run("list")[0]["name"] == "First attempt"


def test_a_file_that_does_not_fit_the_data_set_starts_nothing(training: Training, tmp_path: Path) -> None:
    """No run starts with a wrong number of classes, an unknown data set, or an unknown file or run in `resume`."""
    with pytest.raises(InvalidInput, match=r"arch\.num_classes 2; data set .* has 3 classes"):
        run("start", "--config", "resnet152_2class", "--dataset", training.dataset_id)
    with pytest.raises(NotFound, match="no data set 'dataset-x'"):
        run("start", "--config", "resnet152_3class", "--dataset", "dataset-x")
    with pytest.raises(InvalidInput, match=r"training\.resume is '/gone\.pth\.tar': there is no such file"):
        run("start", "--config", config(tmp_path, resume="/gone.pth.tar"), "--dataset", training.dataset_id)
    with pytest.raises(NotFound, match="no run 'run-x'"):
        run("start", "--config", config(tmp_path, resume="run-x"), "--dataset", training.dataset_id)
    assert training.runs.all().runs == []


def test_a_checkpoint_file_that_resume_names_is_imported_first(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new run resumes from the run that the import created."""
    file = tmp_path / "checkpoint_00000002.pth.tar"
    file.write_bytes(b"")
    requests: list[StartRunRequest] = []
    monkeypatch.setattr(training.runs, "start", lambda request, _key: requests.append(request) or imported)
    imported = training.runs.get(queued(training))

    def import_original(path: Path, network: OriginalNetwork, dataset_id: str) -> dict[str, Any]:
        assert (path, network.arch.model, dataset_id) == (file, "resnet152", training.dataset_id)
        return {"run_id": "run-imported"}

    monkeypatch.setattr(datasets, "import_original", import_original)
    run("start", "--config", config(tmp_path, resume=str(file)), "--dataset", training.dataset_id)
    assert [request.resume_from for request in requests] == ["run-imported"]


def queued(training: Training) -> str:
    """Queue a run and return its id."""
    with training.ports.records.transaction() as session:
        training.runs.queue(session, "run-1", "", training.dataset_id, RunSettings())
    return "run-1"


def test_all_pages_of_a_list_are_read(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    """`run list` prints the runs of every page. It also reads the whole list of a service that knows no pages."""
    pages = {
        "/v1/runs?offset=0&limit=500": {"runs": [{"run_id": "c"}, {"run_id": "b"}], "total": 3, "next_offset": 2},
        "/v1/runs?offset=2&limit=500": {"runs": [{"run_id": "a"}], "total": 3, "next_offset": None},
    }
    monkeypatch.setattr(client, "get", lambda _base, path: pages[path])
    assert [one["run_id"] for one in run("list")] == ["c", "b", "a"]
    monkeypatch.setattr(client, "get", lambda *_: {"runs": [{"run_id": "old"}]})
    assert run("list") == [{"run_id": "old"}]
