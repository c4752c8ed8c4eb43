"""`primitives parked` over the APIs of the services."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from services.cli import client
from services.cli.main import app
from services.common.bus import MemoryBus
from services.common.errors import InvalidInput, NotFound, PrimitivesError
from services.common.http.app import create_app
from services.common.http.parked_routes import add_parked_routes
from services.common.work.parked import ParkedMessages
from tests.unit.common.http.test_parked import QUEUE, Example

RENDERING_PORT = 8003


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Example:
    """The rendering service has censuses; the others have no parked messages."""
    example, empty = Example(tmp_path), create_app("training", ready=lambda: True)
    add_parked_routes(empty, ParkedMessages(MemoryBus(), []))

    def request(method: str, url: str, **options: Any) -> httpx.Response:
        parsed = httpx.URL(url)
        answers = example.client if parsed.port == RENDERING_PORT else TestClient(empty)
        return answers.request(method, parsed.raw_path.decode(), json=options["json"], headers=options["headers"])

    monkeypatch.setattr(client.httpx, "request", request)
    monkeypatch.setenv("PRIMITIVES_HOME", str(tmp_path / "home"))
    return example


def run(*words: str) -> Any:
    """Run `primitives parked …` and return the JSON that it prints, after log lines of the service in this process.
    Errors are raised."""
    lines = CliRunner().invoke(app, ["parked", *words], catch_exceptions=False).output.splitlines()
    first = next(number for number, line in enumerate(lines) if line in ("[", "[]"))
    return json.loads("\n".join(lines[first:]))


def test_messages_of_all_services_are_listed_and_found_by_id(example: Example) -> None:
    """The list has the reasons. A replay and a discard need the id alone; a task that failed is queued again."""
    (_, first), (_, second) = example.park(), example.park()
    assert [one["message_id"] for one in run("list")] == [first, second]
    assert run("list", "--service", "training") == []
    [replayed] = run("replay", first)
    assert (replayed["outcome"], "patch 5 is not a complete image" in replayed["effect"]) == ("requeued", True)
    assert [one["outcome"] for one in run("discard", second)] == ["discarded"]
    assert run("list") == []


def test_a_dot_is_no_message(example: Example) -> None:
    """It is not found. A client shortens `/v1/parked/./replay` to the address that replays all messages."""
    example.park()
    with pytest.raises(NotFound):
        run("replay", ".")
    assert len(run("list")) == 1


def test_all_messages_are_replayed(example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `--all`, of every service; with `--queue`, of one."""
    example.park()
    assert [one["outcome"] for one in run("replay", "--all")] == ["requeued"]
    example.deliver()
    with pytest.raises(InvalidInput, match="its name begins with a service"):
        run("replay", "--all", "--queue", QUEUE)
    with pytest.raises(NotFound, match=r"there is no queue 'patch_rendering\.jobs'"):
        run("replay", "--all", "--queue", "patch_rendering.jobs")


@pytest.mark.parametrize("words", [["replay"], ["replay", "--all", "x"], ["replay", "--queue", "training.jobs", "x"]])
def test_a_replay_names_messages_or_all(example: Example, words: list[str]) -> None:
    """Ids and `--all` exclude each other."""
    with pytest.raises(InvalidInput, match="pass the ids of messages, or --all"):
        run(*words)


def test_an_unknown_message_and_one_without_effect_are_errors(example: Example) -> None:
    """The error of the service is raised; the message stays parked."""
    with pytest.raises(NotFound, match="there is no parked message 'x'"):
        run("replay", "x")
    path, message_id = example.park()
    run("replay", message_id)
    example.deliver()
    [message] = run("list")
    with example.ports.records.transaction() as session:
        task = example.censuses.locked(session, path.rpartition("/")[2])
        task.parked = ""
    with pytest.raises(PrimitivesError, match="is failed, so this message has no effect"):
        run("replay", message["message_id"])
    assert run("list") == [message]
