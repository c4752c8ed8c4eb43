"""Calls that the HTTP side of every service refuses before a handler runs."""

import pytest
from fastapi.testclient import TestClient

from services.common.http.app import create_app

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
    return TestClient(app)


@pytest.mark.parametrize("headers", ELSEWHERE)
def test_a_page_of_another_site_changes_nothing(client: TestClient, headers: dict[str, str]) -> None:
    """A service on loopback has no tokens, and any page in a browser can send it a call.

    Calls that may change something are refused. Calls that only read are answered: such a page cannot see the answer.
    """
    answer = client.post("/v1/runs/run-1/cancel", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (403, "Forbidden")
    assert client.get("/v1/runs", headers=headers).status_code == 200


def test_a_call_that_changes_something_has_no_query(client: TestClient) -> None:
    """Its options are in its body. In the address they would be ignored, so they are refused and named."""
    answer = client.post("/v1/runs/run-1/cancel", params={"dataset": "mine", "x" * 1000: "1"})
    assert (answer.status_code, answer.json()["error"]) == (422, "InvalidInput")
    assert "'dataset'" in answer.json()["message"] and len(answer.json()["message"]) < 400
    assert client.get("/v1/runs", params={"dataset": "mine"}).status_code == 200


def test_a_length_of_thousands_of_digits_is_too_large(client: TestClient) -> None:
    """Python refuses to read such a number; the call is answered all the same."""
    answer = client.post("/v1/runs/run-1/cancel", headers={"content-length": "9" * 5000})
    assert answer.status_code == 413


@pytest.mark.parametrize("headers", OWN)
def test_programs_and_own_pages_may_call(client: TestClient, headers: dict[str, str]) -> None:
    """Programs send neither header; calls from /docs, and addresses that a person types, come from this service."""
    assert client.post("/v1/runs/run-1/cancel", headers=headers).json() == {"cancelled": "run-1"}
