"""Breaking and harmless changes of an OpenAPI document."""

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
    """Apply a change to the document and return the lines of find_breaks."""
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
    """find_breaks returns nothing for the same document, although one of its schemas contains itself."""
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
        "POST /v1/runs: query parameter 'kind' no longer accepts 'other'",
    ),
    "only some values": (
        lambda d: fields(d, "Request")["name"].update(enum=["a"]),
        "POST /v1/runs: body.name accepts only 'a' now",
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
    "response": (lambda d: operation(d)["responses"].clear(), "POST /v1/runs: response 200 is gone"),
    "field of a response": (lambda d: fields(d, "Run").pop("error"), "POST /v1/runs: response 200.error is gone"),
    "field of a response that may be missing": (
        lambda d: required(d, "Run").remove("state"),
        "POST /v1/runs: response 200.state is optional now",
    ),
    "widened response": (
        lambda d: fields(d, "Run").update(run_id={"anyOf": [{"type": "string"}, {"type": "null"}]}),
        "POST /v1/runs: response 200.run_id was string and is null now",
    ),
}


@pytest.mark.parametrize("name", BREAKING)
def test_breaking_changes_are_found(name: str) -> None:
    """find_breaks returns a line for each breaking change, with its operation and field."""
    change, line = BREAKING[name]
    assert line in breaks(change)


HARMLESS: dict[str, Change] = {
    "path": lambda d: d["paths"].update({"/v1/other": {"get": {"responses": {}}}}),
    "optional parameter": lambda d: operation(d)["parameters"].append({"in": "query", "name": "x", "schema": {}}),
    "wider bound": lambda d: operation(d)["parameters"][0]["schema"].update(maximum=1000),
    "no bound": lambda d: operation(d)["parameters"][0]["schema"].pop("minimum"),
    "another value accepted": lambda d: operation(d)["parameters"][1]["schema"]["enum"].append("third"),
    "optional field": lambda d: fields(d, "Request").update(more={"type": "string"}),
    "no longer required": lambda d: required(d, "Request").clear(),
    "widened request": lambda d: fields(d, "Request").update(name={"anyOf": [{"type": "string"}, {"type": "null"}]}),
    "field returned": lambda d: fields(d, "Run").update(more={"type": "string"}),
    "field always returned": lambda d: required(d, "Run").append("error"),
    "another value returned": lambda d: fields(d, "Run")["state"]["enum"].append("paused"),
    "shorter responses": lambda d: fields(d, "Run").update(error={"type": "string", "maxLength": 5}),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_changes_break_nothing(name: str) -> None:
    """find_breaks returns nothing when earlier requests are still accepted and earlier fields still returned."""
    assert breaks(HARMLESS[name]) == []
