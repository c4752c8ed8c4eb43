"""Which changes of an OpenAPI document break its callers."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from deploy.release.openapi import find_breaks

DOCUMENT: dict[str, Any] = {
    "paths": {
        "/v1/runs": {
            "post": {
                "parameters": [
                    {"in": "query", "name": "limit", "schema": {"type": "integer", "minimum": 1, "maximum": 100}},
                    {"in": "query", "name": "kind", "schema": {"type": "string", "enum": ["own", "other"]}},
                ],
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Request"}}}},
                "responses": {
                    "200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Run"}}}}
                },
            },
        },
    },
    "components": {
        "schemas": {
            "Request": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "maxLength": 20},
                    "rate": {"anyOf": [{"type": "number"}, {"type": "null"}]},
                    "layers": {"type": "array", "items": {"type": "string"}},
                },
            },
            "Run": {
                "type": "object",
                "required": ["run_id", "state"],
                "properties": {
                    "run_id": {"type": "string"},
                    "state": {"type": "string", "enum": ["queued", "completed"]},
                    "error": {"type": "string"},
                    "parent": {"anyOf": [{"$ref": "#/components/schemas/Run"}, {"type": "null"}]},
                },
            },
        }
    },
}

Change = Callable[[dict[str, Any]], Any]


def breaks(change: Change) -> list[str]:
    """What a change to the document breaks."""
    today = copy.deepcopy(DOCUMENT)
    change(today)
    return find_breaks(DOCUMENT, today)


def operation(document: dict[str, Any]) -> Any:
    return document["paths"]["/v1/runs"]["post"]


def fields(document: dict[str, Any], schema: str) -> Any:
    return document["components"]["schemas"][schema]["properties"]


def required(document: dict[str, Any], schema: str) -> Any:
    return document["components"]["schemas"][schema]["required"]


def test_nothing_breaks_without_a_change() -> None:
    """A document does not break itself, though a schema of it holds itself."""
    assert breaks(lambda _: None) == []


BREAKING: dict[str, tuple[Change, str]] = {
    "path": (lambda d: d["paths"].clear(), "POST /v1/runs is gone"),
    "parameter": (lambda d: operation(d)["parameters"].pop(), "POST /v1/runs: query parameter 'kind' is gone"),
    "new required parameter": (
        lambda d: operation(d)["parameters"].append({"in": "query", "name": "x", "required": True, "schema": {}}),
        "POST /v1/runs: query parameter 'x' is required now",
    ),
    "parameter required": (
        lambda d: operation(d)["parameters"][0].update(required=True),
        "POST /v1/runs: query parameter 'limit' is required now",
    ),
    "upper bound": (
        lambda d: operation(d)["parameters"][0]["schema"].update(maximum=50),
        "POST /v1/runs: query parameter 'limit' has maximum 50 now, before 100",
    ),
    "new bound": (
        lambda d: fields(d, "Request")["layers"].update(minItems=1),
        "POST /v1/runs: body.layers has minItems 1 now, before none",
    ),
    "value": (
        lambda d: operation(d)["parameters"][1]["schema"].update(enum=["own"]),
        "POST /v1/runs: query parameter 'kind' no longer takes 'other'",
    ),
    "only some values": (
        lambda d: fields(d, "Request")["name"].update(enum=["a"]),
        "POST /v1/runs: body.name takes only 'a' now",
    ),
    "pattern": (
        lambda d: fields(d, "Request")["name"].update(pattern="^a"),
        "POST /v1/runs: body.name has pattern '^a' now, before 'none'",
    ),
    "body required": (
        lambda d: operation(d)["requestBody"].update(required=True),
        "POST /v1/runs: a body is required now",
    ),
    "media type": (
        lambda d: operation(d)["requestBody"]["content"].clear(),
        "POST /v1/runs: body of application/json is gone",
    ),
    "field of a request": (lambda d: fields(d, "Request").pop("layers"), "POST /v1/runs: body.layers is gone"),
    "newly required field": (
        lambda d: required(d, "Request").append("layers"),
        "POST /v1/runs: body.layers is required now",
    ),
    "narrowed type": (
        lambda d: fields(d, "Request")["rate"].update(anyOf=[{"type": "integer"}, {"type": "null"}]),
        "POST /v1/runs: body.rate was number and is integer now",
    ),
    "no null any more": (
        lambda d: fields(d, "Request")["rate"].update(anyOf=[{"type": "number"}]),
        "POST /v1/runs: body.rate was null and is number now",
    ),
    "items": (
        lambda d: fields(d, "Request")["layers"].update(items={"type": "integer"}),
        "POST /v1/runs: body.layers[] was string and is integer now",
    ),
    "answer": (lambda d: operation(d)["responses"].clear(), "POST /v1/runs: answer 200 is gone"),
    "field of an answer": (lambda d: fields(d, "Run").pop("error"), "POST /v1/runs: answer 200.error is gone"),
    "field of an answer that may be missing": (
        lambda d: required(d, "Run").remove("state"),
        "POST /v1/runs: answer 200.state is optional now",
    ),
    "widened answer": (
        lambda d: fields(d, "Run").update(run_id={"anyOf": [{"type": "string"}, {"type": "null"}]}),
        "POST /v1/runs: answer 200.run_id was string and is null now",
    ),
}


@pytest.mark.parametrize("name", BREAKING)
def test_what_breaks_is_named(name: str) -> None:
    """Each change that a caller would fail over is one of the lines, with its operation and field."""
    change, told = BREAKING[name]
    assert told in breaks(change)


HARMLESS: dict[str, Change] = {
    "path": lambda d: d["paths"].update({"/v1/other": {"get": {"responses": {}}}}),
    "optional parameter": lambda d: operation(d)["parameters"].append({"in": "query", "name": "x", "schema": {}}),
    "wider bound": lambda d: operation(d)["parameters"][0]["schema"].update(maximum=1000),
    "no bound": lambda d: operation(d)["parameters"][0]["schema"].pop("minimum"),
    "another value taken": lambda d: operation(d)["parameters"][1]["schema"]["enum"].append("third"),
    "optional field": lambda d: fields(d, "Request").update(more={"type": "string"}),
    "no longer required": lambda d: required(d, "Request").clear(),
    "widened request": lambda d: fields(d, "Request").update(name={"anyOf": [{"type": "string"}, {"type": "null"}]}),
    "field told": lambda d: fields(d, "Run").update(more={"type": "string"}),
    "field always told": lambda d: required(d, "Run").append("error"),
    "another value told": lambda d: fields(d, "Run")["state"]["enum"].append("paused"),
    "shorter answers": lambda d: fields(d, "Run").update(error={"type": "string", "maxLength": 5}),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_only_adds_breaks_nothing(name: str) -> None:
    """What earlier callers send is still taken, and what they read is still there."""
    assert breaks(HARMLESS[name]) == []
