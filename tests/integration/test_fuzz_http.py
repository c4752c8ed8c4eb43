"""Every operation of the four OpenAPI documents, with input that its schema allows and input that it forbids."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from deploy.local.servers import Server
from services.cli.migrations import SERVICES
from tests.integration.finished import Finished, finished_plan
from tests.servers import fresh_database

EXAMPLES, LONG_EXAMPLES = 15, 150
"""Requests for each operation under `make test` and under `make chaos`."""
HEALTH = {"/healthz", "/readyz"}
STREAM = "/events"
CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, postgres: Server) -> Iterator[Finished]:
    with finished_plan(tmp_path_factory.mktemp("finished"), fresh_database(postgres)) as plan:
        yield plan


@pytest.fixture(scope="module")
def client(finished: Finished) -> Iterator[httpx.Client]:
    """One client for all calls: making one takes longer than a call."""
    with httpx.Client(timeout=60) as client:
        yield client


@pytest.mark.parametrize("examples", [EXAMPLES, pytest.param(LONG_EXAMPLES, marks=pytest.mark.long)])
@pytest.mark.parametrize("service", SERVICES)
def test_no_operation_answers_with_a_server_error(finished: Finished, service: str, examples: int) -> None:
    """For valid and invalid requests, about existing and missing things, no response is a 5xx, and each is
    documented."""
    operations = [operation.ok() for operation in document(finished, service).get_all_operations()]
    assert len(operations) > len(HEALTH)
    with requests.Session() as session:
        for operation in operations:
            if not operation.path.endswith(STREAM):
                fuzz(finished, operation, examples, session)


def fuzz(finished: Finished, operation: Any, examples: int, session: requests.Session) -> None:
    """Call one operation with generated requests."""

    @settings(
        max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
    )
    @given(st.data())
    def call(data: st.DataObject) -> None:
        mode = data.draw(st.sampled_from(list(schemathesis.GenerationMode)))
        case = data.draw(operation.as_strategy(generation_mode=mode))
        for name in case.path_parameters or {}:
            if name in finished.known and data.draw(st.booleans()):
                case.path_parameters[name] = data.draw(st.sampled_from(finished.known[name]))
        case.call_and_validate(headers=finished.headers, timeout=60, checks=CHECKS, session=session)

    call()


@pytest.mark.parametrize("service", SERVICES)
def test_streams_of_nothing_are_refused(finished: Finished, client: httpx.Client, service: str) -> None:
    """A stream of something that does not exist is a 404 under any name."""
    paths = [path for path in openapi(finished, service)["paths"] if path.endswith(STREAM)]
    for path in paths:
        for name in ("none", "%00", "%F0%9F%92%A9", "..%2F..", "a" * 500):
            address = re.sub(r"{\w+}", name, path)
            answer = client.get(finished.http(service) + address, headers=finished.headers)
            assert 400 <= answer.status_code < 500, address


@pytest.mark.parametrize("service", SERVICES)
def test_without_a_token_only_health_answers(finished: Finished, client: httpx.Client, service: str) -> None:
    """Every operation without a token or with a wrong one is a 401, except health."""
    for path, methods in openapi(finished, service)["paths"].items():
        address = finished.http(service) + re.sub(r"{\w+}", "1", path)
        for method in methods:
            for shown in ({}, {"authorization": "Bearer guess"}, {"x-reader": "Ana"}):
                status = client.request(method, address, headers=shown).status_code
                assert status == (200 if path in HEALTH and method == "get" else 401), (method, address)


def document(finished: Finished, service: str) -> Any:
    """Return a service's OpenAPI document, loaded by schemathesis."""
    return schemathesis.openapi.from_url(f"{finished.http(service)}/openapi.json", headers=finished.headers)


def openapi(finished: Finished, service: str) -> Any:
    """Return a service's OpenAPI document as JSON."""
    return httpx.get(f"{finished.http(service)}/openapi.json", headers=finished.headers, timeout=60).json()
