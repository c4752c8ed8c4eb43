"""Host names under which services without tokens may be called."""

from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from services.common.access.edge import Edge, open_edge
from services.common.access.tokens import Tokens, add_token
from services.common.http.app import create_app
from services.common.http.known_hosts import KnownHosts
from services.common.settings import Shared
from tests.fakes.serving import serving_http


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8001", 200),
        ("127.9.9.9", 200),
        ("localhost:1", 200),
        ("LOCALHOST", 200),
        ("[::1]:8001", 200),
        ("reading.example", 200),
        ("Reading.Example:443", 200),
        ("evil.example:8001", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example", 421),
        ("reading.example.evil.example", 421),
        ("192.168.0.7", 421),
        ("[::2]:8001", 421),
        ("", 421),
    ],
)
def test_only_loopback_and_allowed_names_are_served(host: str, status: int) -> None:
    """Every other name is refused, also for reading: after DNS rebinding a call has the name of the other site."""
    app = KnownHosts(create_app("training", lambda: True), {"reading.example"})
    answer = TestClient(app).get("/healthz", headers={"host": host})
    assert answer.status_code == status
    if status == 421:
        assert answer.json()["error"] == "MisdirectedRequest"
        assert "PRIMITIVES_ALLOWED_HOSTS" in answer.json()["message"]


def test_the_server_checks_names_unless_it_has_tokens(tmp_path: Path) -> None:
    """It accepts the names of the settings; with tokens any name, since a page has no token after DNS rebinding."""
    file = tmp_path / "tokens.json"
    token = add_token(file, "prometheus", ("metrics:read",))
    hosts = open_edge("training", Shared(allowed_hosts="proxy.example, Other.Example")).allowed_hosts
    for tokens, host, status in (
        (None, "evil.example", 421),
        (None, "proxy.example", 200),
        (None, "other.example:80", 200),
        (Tokens(file), "evil.example", 200),
    ):
        edge = Edge("training", tokens=tokens, allowed_hosts=hosts)
        with serving_http(create_app("training", lambda: True, tokens), edge) as base:
            headers = {"host": host, "authorization": f"Bearer {token}"}
            assert httpx.get(f"{base}/metrics", headers=headers).status_code == status, host
