"""Parked messages over HTTP: listed, replayed and discarded, with the census of docs/adr/0012 as the task."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter
from fastapi.testclient import TestClient

from services.common.access.tokens import Tokens, add_token
from services.common.bus import Consumer, Envelope, MemoryBus
from services.common.errors import InvalidInput, Unavailable
from services.common.http.app import create_app
from services.common.http.parked_routes import add_parked_routes
from services.common.http.streams import Streams
from services.common.records import Outbox
from services.common.work.parked import ParkedMessages
from tests.fakes import census
from tests.fakes.data import store_dataset
from tests.fakes.messages import CountPatches
from tests.fakes.ports import FakeRunner, World

QUEUE = "example.jobs"


class Example:
    """Censuses over a bus in memory. The test delivers the messages."""

    def __init__(self, folder: Path, tokens: Tokens | None = None) -> None:
        folder.mkdir(exist_ok=True)
        world, self.bus = World(folder, census.Base.metadata), MemoryBus()
        outbox = Outbox(world.ports.records, census.Base.metadata.tables["outbox"], self.bus)
        self.ports = replace(world.ports, bus=self.bus, outbox=outbox)
        self.runner = FakeRunner()
        self.runner.answers["count_patches"] = self._refuse
        self.censuses = census.Censuses(self.ports, self.runner)  # type: ignore[arg-type]
        self.consumer = Consumer(self.bus, QUEUE, max_attempts=2)
        census.handle_commands(self.consumer, self.censuses)
        self.consumer.declare()
        app, router = create_app("training", lambda: True, tokens), APIRouter(prefix="/v1")
        census.add_census_routes(router, self.censuses, Streams())
        app.include_router(router)
        add_parked_routes(app, ParkedMessages(self.bus, [self.consumer]))
        self.app, self.client = app, TestClient(app)
        _, self.dataset = store_dataset(world.blobs, folder / "patches", {"train": 6, "val": 4})

    def _refuse(self, _: Any) -> Any:
        raise InvalidInput("patch 5 is not a complete image")

    def mend(self) -> None:
        """Remove the cause of the failure."""
        self.runner.answers["count_patches"] = lambda _: {"normal": 10}

    def park(self) -> tuple[str, str]:
        """Start a census that fails; return its path and the id of its parked message."""
        path = f"/v1/censuses/{self.censuses.start(self.dataset).census_id}"
        self.deliver()
        return path, self.parked()[-1]["message_id"]

    def deliver(self) -> int:
        """Deliver all messages that wait and return their number."""
        self.ports.outbox.flush()
        waiting, count = self.bus._queues[QUEUE], 0
        while waiting:
            self.consumer._deliver(waiting.popleft())
            count += 1
        return count

    def parked(self) -> list[dict[str, Any]]:
        """The parked messages as they are listed."""
        found: list[dict[str, Any]] = self.client.get("/v1/parked").json()["messages"]
        return found

    def post(self, path: str) -> tuple[int, dict[str, Any]]:
        """The status and the JSON of a call."""
        answer = self.client.post(path)
        return answer.status_code, answer.json()


@pytest.fixture
def example(tmp_path: Path) -> Example:
    return Example(tmp_path)


def test_a_parked_command_is_listed_and_replayed(example: Example) -> None:
    """It is listed with its reason and ids. After a replay its task is queued again, keeps the reason of its failure,
    and completes; the message is no longer parked."""
    path, message_id = example.park()
    [message] = example.parked()
    assert (message["reason"], message["queue"], message["attempts"]) == ("patch 5 is not a complete image", QUEUE, 1)
    assert message["type"] == "primitives.example.v1.CountPatches"
    assert message["ids"] == {"census_id": path.rpartition("/")[2]} and message["since"] != ""
    example.mend()
    status, done = example.post(f"/v1/parked/{message_id}/replay")
    assert (status, done["outcome"]) == (200, "requeued")
    assert "is queued again with all work that is not done. It had failed: patch 5" in done["effect"]
    view = example.client.get(path).json()
    assert (view["state"], view["error"]) == ("queued", "")
    assert [one["reason"] for one in view["requeues"]] == ["patch 5 is not a complete image"]
    assert (example.parked(), example.deliver()) == ([], 1)
    assert example.client.get(path).json()["state"] == "completed"


def test_a_task_that_fails_again_is_parked_again(example: Example) -> None:
    """The second failure is recorded as the first one was, and can be replayed too."""
    path, message_id = example.park()
    example.post(f"/v1/parked/{message_id}/replay")
    example.deliver()
    assert example.client.get(path).json()["state"] == "failed"
    [message] = example.parked()
    assert message["message_id"] != message_id
    assert example.post(f"/v1/parked/{message['message_id']}/replay")[1]["outcome"] == "requeued"


def test_a_process_that_dies_during_a_replay_loses_nothing(example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    """The task is queued again, and the message still parked. A second replay sends it; the work is done once."""
    path, message_id = example.park()
    example.mend()
    calls = len(example.runner.calls)

    def die(*_: Any) -> Any:
        raise Unavailable("the broker does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(example.bus, "discard", die)
        assert example.post(f"/v1/parked/{message_id}/replay")[0] == 503
    assert [one["message_id"] for one in example.parked()] == [message_id]
    assert example.client.get(path).json()["state"] == "queued"
    assert example.post(f"/v1/parked/{message_id}/replay")[1]["outcome"] == "sent"
    assert example.deliver() == 2
    assert example.client.get(path).json()["state"] == "completed"
    assert len(example.runner.calls) == calls + 1


def test_a_message_without_effect_stays_parked(example: Example) -> None:
    """409 names the state of its task; it can be discarded. The same holds for a task that is not in the records."""
    path, message_id = example.park()
    example.post(f"/v1/parked/{message_id}/replay")
    example.client.post(f"{path}/cancel")
    example.bus.park(QUEUE, Envelope("primitives.example.v1.CountPatches", '{"census_id": "x"}', id="lost"), "gone")
    census_id = path.rpartition("/")[2]
    envelope = Envelope("primitives.example.v1.CountPatches", f'{{"census_id": "{census_id}"}}', id="late")
    example.bus.park(QUEUE, envelope, "late")
    for id_, reason in (
        ("late", "is cancelled, so this message has no effect"),
        ("lost", "there is no census 'x', so"),
    ):
        status, problem = example.post(f"/v1/parked/{id_}/replay")
        assert (status, reason in problem["message"]) == (409, True)
    outcomes = example.post("/v1/parked/replay")[1]["messages"]
    assert {one["message_id"]: one["outcome"] for one in outcomes} == {"late": "refused", "lost": "refused"}
    assert example.post("/v1/parked/lost/discard")[1]["outcome"] == "discarded"
    assert [one["message_id"] for one in example.parked()] == ["late"]


def test_all_messages_of_a_queue_are_replayed(example: Example) -> None:
    """Each has its own outcome. One that cannot be read, or that no handler expects, is sent and parked again."""
    paths = [example.park()[0] for _ in range(2)]
    example.bus.park(QUEUE, Envelope("primitives.example.v1.Unknown", "{}"), "unknown")
    example.mend()
    outcomes = example.post(f"/v1/parked/replay?queue={QUEUE}")[1]["messages"]
    assert [one["outcome"] for one in outcomes] == ["requeued", "requeued", "sent"]
    assert "parked again if it still cannot be read" in outcomes[2]["effect"]
    assert example.deliver() == 3
    assert [example.client.get(path).json()["state"] for path in paths] == ["completed", "completed"]
    assert [one["type"] for one in example.parked()] == ["primitives.example.v1.Unknown"]


@pytest.mark.parametrize(
    "path", ["/v1/parked/nothing/replay", "/v1/parked/nothing/discard", "/v1/parked/replay?queue=x"]
)
def test_what_does_not_exist_is_not_found(example: Example, path: str) -> None:
    """A message that is not parked, and a queue of another service."""
    assert example.post(f"/v1/parked/{path}")[0] == 404


def test_parked_messages_are_for_operators(tmp_path: Path) -> None:
    """Reading needs the read scope, acting the write scope, and a token of a reader allows neither."""
    file = tmp_path / "tokens.json"
    tokens = {
        "operator": add_token(file, "operator", ("training:read", "training:write")),
        "observer": add_token(file, "observer", ("training:read",)),
        "reader": add_token(file, "reader", ("*:read", "*:write"), reader="Ana"),
    }
    example = Example(tmp_path, Tokens(file))

    def status(holder: str, call: Callable[..., Any], path: str) -> int:
        return int(call(path, headers={"authorization": f"Bearer {tokens[holder]}"}).status_code)

    get, post = example.client.get, example.client.post
    assert [status(holder, get, "/v1/parked") for holder in tokens] == [200, 200, 403]
    for path in ("/v1/parked/replay", "/v1/parked/nothing/replay", "/v1/parked/nothing/discard"):
        assert [status(holder, post, path) for holder in ("observer", "reader")] == [403, 403]
    assert status("operator", post, "/v1/parked/replay") == 200
    assert get("/v1/parked").status_code == 401


def test_a_start_is_repeated_with_its_key(example: Example) -> None:
    """Over HTTP the same key and request answer with the first task; another request is refused with 422, and so is an
    invalid key."""
    start, headers = example.dataset.model_dump(), {"idempotency-key": '"key-1"'}
    first = example.client.post("/v1/censuses", json=start, headers=headers)
    again = example.client.post("/v1/censuses", json=start, headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["census_id"] == again.json()["census_id"]
    other = example.client.post("/v1/censuses", json=start | {"key": "other"}, headers=headers)
    assert (other.status_code, other.json()["error"]) == (422, "InvalidInput")
    assert f"which started {first.json()['census_id']}" in other.json()["message"]
    assert example.client.post("/v1/censuses", json=start, headers={"idempotency-key": "a b"}).status_code == 422
    assert example.deliver() == 1
    assert CountPatches.DESCRIPTOR.full_name == example.parked()[0]["type"]
