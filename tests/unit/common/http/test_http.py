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


@pytest.mark.parametrize("headers", OWN)
def test_programs_and_own_pages_may_call(client: TestClient, headers: dict[str, str]) -> None:
    """Programs send neither header; calls from /docs, and addresses that a person types, come from this service."""
    assert client.post("/v1/runs/run-1/cancel", headers=headers).json() == {"cancelled": "run-1"}
