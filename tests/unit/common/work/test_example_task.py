"""The worked example of docs/adr/0012: a new kind of task, from its row to its routes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import APIRouter
from fastapi.testclient import TestClient

from services.common.bus import Consumer, encode
from services.common.http.app import create_app
from services.common.http.streams import Streams
from services.common.work.runner import JobRunner
from tests.fakes import census
from tests.fakes.data import store_dataset
from tests.fakes.messages import CountPatches
from tests.fakes.ports import World

DECISION = Path(__file__).parents[4] / "docs" / "adr" / "0012-a-task-is-written-once.md"


class Example:
    """The example over the fakes and a real child process, with a stored data set of ten patches."""

    def __init__(self, folder: Path, runner: JobRunner) -> None:
        self.world = World(folder, census.Base.metadata)
        censuses = census.Censuses(self.world.ports, runner)
        self.consumer = Consumer(self.world.bus, "example.jobs", max_attempts=2)
        census.handle_commands(self.consumer, censuses)
        app, router = create_app("training", lambda: True), APIRouter(prefix="/v1")
        census.add_census_routes(router, censuses, Streams())
        app.include_router(router)
        self.client = TestClient(app)
        _, self.dataset = store_dataset(self.world.blobs, folder / "patches", {"train": 6, "val": 4})

    def start(self) -> str:
        """Start a census over HTTP and return its id."""
        answer = self.client.post("/v1/censuses", json=self.dataset.model_dump())
        assert answer.status_code == 202, answer.text
        return str(answer.json()["census_id"])

    def deliver(self) -> int:
        """Deliver the enqueued commands and return their number."""
        commands = self.world.sent()
        for command in commands:
            self.consumer._deliver(encode(command))
        return len(commands)


@pytest.fixture
def example(tmp_path: Path) -> Iterator[Example]:
    runner = JobRunner("example-job")
    yield Example(tmp_path, runner)
    runner.close()


def test_a_census_counts_the_patches_of_each_class(example: Example) -> None:
    """A census that was started over HTTP completes with its counts, and counts once."""
    census_id = example.start()
    assert example.deliver() == 1
    found = example.client.get(f"/v1/censuses/{census_id}").json()
    assert (found["state"], sum(found["counts"].values())) == ("completed", 10)
    assert set(found["counts"]) <= {"normal", "benign", "cancer"}
    example.consumer._deliver(encode(CountPatches(census_id=census_id)))
    assert example.client.get(f"/v1/censuses/{census_id}").json() == found


def test_a_paused_census_continues_when_it_is_resumed(example: Example) -> None:
    """The command of a paused census does nothing; a resume enqueues it again."""
    path = f"/v1/censuses/{example.start()}"
    assert example.client.post(f"{path}/pause").json()["state"] == "paused"
    assert example.deliver() == 1
    assert example.client.get(path).json()["counts"] is None
    assert example.client.post(f"{path}/resume").json()["state"] == "queued"
    assert example.deliver() == 1
    assert example.client.get(path).json()["state"] == "completed"


def test_a_census_of_a_missing_data_set_fails_with_the_reason(example: Example) -> None:
    """The command is parked, and the census carries the error of its job."""
    example.dataset = example.dataset.model_copy(update={"key": "missing"})
    path = f"/v1/censuses/{example.start()}"
    example.deliver()
    found = example.client.get(path).json()
    assert found["state"] == "failed"
    assert "missing" in found["error"]


def test_the_decision_shows_the_code_of_the_example() -> None:
    """docs/adr/0012 repeats the example from its row to its routes, word for word."""
    source = Path(census.__file__).read_text()
    code = source[source.index("# tables.py") :]
    assert f"```python\n{code}```" in DECISION.read_text()
