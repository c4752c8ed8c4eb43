"""Calls that the HTTP side of every service refuses before a handler runs."""

import pytest
from fastapi.testclient import TestClient

from services.common.http.app import create_app
from services.common.http.idempotency import StartKey

ELSEWHERE = (
    {"origin": "https://evil.example", "sec-fetch-site": "cross-site"},
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://["},
    {"sec-fetch-site": "same-site"},
)
OWN = (
    {},
    {"origin": "http://testserver"},
    {"origin": "http://testserver", "sec-fetch-site": "same-origin"},
    {"sec-fetch-site": "none"},
)


@pytest.fixture
def client() -> TestClient:
    app = create_app("training", lambda: True)
    app.get("/v1/runs")(lambda: {"runs": []})
    app.post("/v1/runs/{run_id}/cancel")(lambda run_id: {"cancelled": run_id})

    @app.post("/v1/parked/replay")
    def replay(queue: str = "") -> dict[str, str]:
        return {"queue": queue}

    @app.post("/v1/runs")
    def start(body: dict[str, str], key: StartKey) -> dict[str, str]:
        return body | {"key": key.key if key is not None else ""}

    return TestClient(app)


@pytest.mark.parametrize("headers", ELSEWHERE)
def test_a_page_of_another_site_changes_nothing(client: TestClient, headers: dict[str, str]) -> None:
    """A service on loopback has no tokens, and any page in a browser can send it a call.

    Calls that may change something are refused. Calls that only read are answered: such a page cannot see the answer.
    """
    answer = client.post("/v1/runs/run-1/cancel", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (403, "Forbidden")
    assert client.get("/v1/runs", headers=headers).status_code == 200


def test_a_call_that_changes_something_has_no_other_parameters_in_its_address(client: TestClient) -> None:
    """Those that its route does not have would be ignored, so they are refused and named. A call that only reads
    ignores them."""
    answer = client.post("/v1/runs/run-1/cancel", params={"dataset": "mine", "x" * 1000: "1"})
    assert (answer.status_code, answer.json()["error"]) == (422, "InvalidInput")
    assert "'dataset'" in answer.json()["message"] and len(answer.json()["message"]) < 400
    assert client.get("/v1/runs", params={"dataset": "mine"}).status_code == 200
    assert client.post("/v1/parked/replay", params={"queue": "training.jobs"}).json() == {"queue": "training.jobs"}
    answer = client.post("/v1/parked/replay", params={"queues": "training.jobs"})
    assert (answer.status_code, "'queues'" in answer.json()["message"]) == (422, True)


def test_a_call_without_a_body_refuses_one(client: TestClient) -> None:
    """A queue in the body would be ignored, and the messages of all queues would be replayed."""
    answer = client.post("/v1/parked/replay", json={"queue": "training.jobs"})
    assert (answer.status_code, answer.json()["error"]) == (422, "InvalidInput")
    assert client.post("/v1/parked/replay", json={}).status_code == 200
    assert client.post("/v1/runs/run-1/cancel", content=b"").status_code == 200


def test_a_call_with_a_body_and_a_key_is_answered(client: TestClient) -> None:
    """The refusal leaves the body to the route, and an idempotency key is a header of its own."""
    answer = client.post("/v1/runs", json={"dataset_id": "mine"}, headers={"idempotency-key": "k"})
    assert answer.json() == {"dataset_id": "mine", "key": "k"}


def test_a_length_of_thousands_of_digits_is_too_large(client: TestClient) -> None:
    """Python refuses to read such a number; the call is answered all the same."""
    answer = client.post("/v1/runs/run-1/cancel", headers={"content-length": "9" * 5000})
    assert answer.status_code == 413


@pytest.mark.parametrize("headers", OWN)
def test_programs_and_own_pages_may_call(client: TestClient, headers: dict[str, str]) -> None:
    """Programs send neither header; calls from /docs, and addresses that a person types, come from this service."""
    assert client.post("/v1/runs/run-1/cancel", headers=headers).json() == {"cancelled": "run-1"}
