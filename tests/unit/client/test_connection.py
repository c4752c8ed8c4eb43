"""Calls of the Python client: retries, errors and what is sent."""

import ssl
from typing import Any

import httpx
import pytest

from primitives_client import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    NotSignedIn,
    Primitives,
    Retries,
    ServiceError,
    TooMany,
    Unavailable,
    UnexpectedAnswer,
    Untrusted,
)
from primitives_client.connection import LONGEST_RETRY_AFTER_S, path_of
from tests.fakes.http_services import HttpServices, dataset, problem, run

FOUND = httpx.Response(200, json=dataset())
REFUSED = httpx.ConnectError("[Errno 111] Connection refused")
LOST = httpx.ReadError("connection lost")


@pytest.mark.parametrize("passing", [*(httpx.Response(code) for code in (429, 502, 503, 504)), REFUSED, LOST])
def test_a_call_that_reads_is_sent_until_it_is_answered(passing: Any) -> None:
    """Each passing failure is followed by a longer wait."""
    services = HttpServices(passing, passing, FOUND)
    assert services.client().datasets.get("dataset-1").name == "ddsm"
    assert services.calls == ["GET http://host:8001/v1/datasets/dataset-1"] * 3
    assert 0.25 <= services.waits[0] <= 0.5 <= services.waits[1] <= 1.0


def test_the_last_failure_is_raised() -> None:
    """After five attempts the caller gets the service's own explanation."""
    services = HttpServices(problem(503, "Unavailable", "the database does not answer"))
    with pytest.raises(Unavailable, match=r"the database does not answer \(503, GET http://host:8001/v1/datasets/d\)"):
        services.client().datasets.get("d")
    assert (len(services.calls), len(services.waits)) == (5, 4)


@pytest.mark.parametrize(("value", "expected"), [("7", 7.0), ("100000", LONGEST_RETRY_AFTER_S), ("soon", None)])
def test_a_service_says_when_to_retry(value: str, expected: float | None) -> None:
    """Retry-After in seconds replaces the wait, up to a limit."""
    services = HttpServices(problem(429, "TooMany", "busy", **{"retry-after": value}), FOUND)
    services.client().datasets.get("d")
    assert services.waits[0] == expected if expected else services.waits[0] <= 0.5


@pytest.mark.parametrize("failure", [LOST, httpx.ReadTimeout("slow"), httpx.Response(503), httpx.Response(429)])
def test_a_call_that_may_have_arrived_is_not_sent_again(failure: Any) -> None:
    """A pause has no key, so it is sent once."""
    services = HttpServices(httpx.Response(200, json=run()), failure)
    task = services.client().runs.get("run-1")
    with pytest.raises((Unavailable, TooMany)):
        task.pause()
    assert services.calls[1:] == ["POST http://host:8001/v1/runs/run-1/pause"]


def test_a_call_that_has_not_arrived_is_sent_again() -> None:
    """Without a connection, any call is safe to repeat."""
    services = HttpServices(httpx.Response(200, json=run()), REFUSED, httpx.Response(202, json=run("paused")))
    assert services.client().runs.get("run-1").pause().state == "paused"


def test_a_start_has_a_key_so_that_it_can_be_sent_again() -> None:
    """All attempts of a start have the same idempotency key, and other starts have other keys."""
    answer = httpx.Response(202, json=run())
    services = HttpServices(LOST, httpx.Response(502), answer)
    p = services.client()
    p.runs.start("dataset-1")
    p.runs.start("dataset-1")
    p.runs.start("dataset-1", key="nightly")
    keys = [one.headers["idempotency-key"] for one in services.requests]
    assert keys[0] == keys[1] == keys[2] != keys[3]
    assert keys[4] == "nightly"


def test_an_untrusted_certificate_is_an_error_at_once() -> None:
    """No retry changes it."""
    services = HttpServices(httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate"))
    with pytest.raises(Untrusted, match="self-signed"):
        services.client().datasets.get("d")
    assert services.waits == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, NotSignedIn), (403, Forbidden), (404, NotFound), (409, Conflict), (422, InvalidInput), (429, TooMany),
        (500, Unavailable), (418, ServiceError),
    ],
)  # fmt: skip
def test_errors_have_the_words_of_the_service(status: int, kind: type[ServiceError]) -> None:
    """One class a kind of refusal, with the service's message, name and status."""
    services = HttpServices(problem(status, "SomeName", "no run 'run-x'"))
    with pytest.raises(ServiceError) as refused:
        services.client(attempts=1).datasets.get("d")
    assert type(refused.value) is kind
    found = refused.value
    assert (found.message, found.name, found.status) == ("no run 'run-x'", "SomeName", status)


@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"[]", b'{"detail": "no"}', b"\xff\xfe"])
def test_a_proxy_answers_with_anything(body: bytes) -> None:
    """An error quotes an answer that is not a service's."""
    services = HttpServices(httpx.Response(502, content=body))
    with pytest.raises(Unavailable, match="502"):
        services.client(attempts=1).datasets.get("d")


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"dataset_id": 3}', b""])
def test_an_answer_that_is_not_understood_is_named(body: bytes) -> None:
    """The error names the call and what is wrong with the answer."""
    services = HttpServices(httpx.Response(200, content=body))
    with pytest.raises(UnexpectedAnswer, match="GET http://host:8001/v1/datasets/d is not what this client expects"):
        services.client().datasets.get("d")


def test_answers_of_later_versions_are_understood() -> None:
    """Unknown fields and unknown values of states are accepted."""
    services = HttpServices(httpx.Response(200, json=run("sleeping", name="first")))
    assert services.client().runs.get("run-1").state == "sleeping"


def test_a_misspelt_setting_is_refused_before_it_is_sent() -> None:
    """The error names the field."""
    services = HttpServices(FOUND)
    with pytest.raises(InvalidInput, match=r"RunSettings: epoch: Extra inputs are not permitted"):
        services.client().runs.start("dataset-1", {"epoch": 3})
    assert services.calls == []


def test_only_given_settings_are_sent() -> None:
    """Defaults are those of the service, which may be of another version."""
    services = HttpServices(httpx.Response(202, json=run()))
    services.client().runs.start("dataset-1", {"epochs": 3})
    assert services.bodies() == [{"dataset_id": "dataset-1", "settings": {"epochs": 3}}]


def test_token_and_reader_are_sent() -> None:
    """Every call carries the token; calls of the annotation service carry the reader, in UTF-8."""
    services = HttpServices(httpx.Response(200, json={"total": 0, "next_offset": None, "studies": [], "datasets": []}))
    p = services.client(token="secret", reader="Dr. Ána")
    assert (list(p.datasets.list()), list(p.studies.list()), list(p.as_reader("Ben").studies.list())) == ([], [], [])
    assert [one.headers["authorization"] for one in services.requests] == ["Bearer secret"] * 3
    readers = [dict(one.headers.raw).get(b"x-reader") for one in services.requests]
    assert readers == [None, "Dr. Ána".encode(), b"Ben"]
    assert "secret" not in repr(p) + repr(p._connections)


@pytest.mark.parametrize("part", ["", ".", ".."])
def test_a_name_cannot_lead_to_another_path(part: str) -> None:
    """An empty id would list everything, and dots would climb."""
    with pytest.raises(InvalidInput):
        path_of("runs", part)


def test_names_in_paths_are_quoted() -> None:
    """A layer may have any name."""
    assert path_of("layers", "a/b c?d", 3) == "/v1/layers/a%2Fb%20c%3Fd/3"


def test_a_fault_of_the_caller_is_not_repeated() -> None:
    """A proxy that does not exist as a protocol, for example; and a name that no header can hold is not sent."""
    services = HttpServices(httpx.UnsupportedProtocol("no scheme"))
    with pytest.raises(Unavailable, match="no scheme"):
        services.client().datasets.get("d")
    assert services.waits == []
    with pytest.raises(InvalidInput, match="reader"):
        services.client(reader="Ana\n")


def test_a_client_is_closed_with_its_block() -> None:
    """Later calls fail, and nothing is sent before the first one."""
    with Primitives("https://host", authorities=ssl.create_default_context(), retries=Retries(attempts=1)) as p:
        assert "https://host:8001" in repr(p)
    with pytest.raises(RuntimeError, match="closed"):
        p.datasets.get("d")
