"""The models of the Python client are those of the services' OpenAPI documents."""

from typing import Any

import pytest

from deploy.release.client_models import COMMAND, FOLDER, modules, type_of
from deploy.release.contracts import openapi_documents


def test_the_models_of_the_client_are_those_of_the_services() -> None:
    """A change of a schema needs the models to be written again, by one command."""
    found = {path.stem: path.read_text() for path in FOLDER.glob("*.py") if path.stem not in ("__init__", "base")}
    expected = modules(openapi_documents())
    stale = sorted(name for name in found | expected if found.get(name) != expected.get(name))
    assert stale == [], f"run `{COMMAND}`"


@pytest.mark.parametrize(
    ("schema", "of_answer", "of_request"),
    [
        ({"type": "integer"}, "int", "int"),
        ({"type": "array", "items": {"type": "string"}}, "list[str]", "list[str]"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "dict[str, int]", "dict[str, int]"),
        ({"type": "object", "additionalProperties": True}, "dict[str, Any]", "dict[str, Any]"),
        ({"anyOf": [{"$ref": "#/components/schemas/X"}, {"type": "null"}]}, "X | None", "X | None"),
        ({"enum": ["a", "b"], "type": "string"}, "str", "Literal['a', 'b']"),
        ({"anyOf": [{"type": "string"}, {"const": "", "type": "string"}]}, "str", "str"),
        ({}, "Any", "Any"),
    ],
)
def test_a_schema_has_a_type(schema: dict[str, Any], of_answer: str, of_request: str) -> None:
    """Values of an enumeration are named only in requests."""
    assert (type_of(schema, is_strict=False), type_of(schema, is_strict=True)) == (of_answer, of_request)


def test_schemas_of_requests_answers_and_both_have_bases_of_their_own() -> None:
    """Fields keep their order, defaults and descriptions; deprecated ones are left out."""

    def body(name: str) -> dict[str, Any]:
        return {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}}

    inner = {"$ref": "#/components/schemas/Inner"}
    schemas = {
        "Sent": {"properties": {"inner": inner, "kind": {"enum": ["a"], "type": "string", "default": "a"}}},
        "Seen": {
            "properties": {
                "inner": inner, "state": {"type": "string", "description": "Its state."},
                "old": {"type": "string", "deprecated": True}, "rows": {"type": "array", "items": inner, "default": []},
            },
            "required": ["inner", "state", "old"],
        },
        "Inner": {"description": "A part.", "properties": {"seed": {"type": "integer", "default": 7}}},
    }  # fmt: skip
    document = {
        "components": {"schemas": schemas},
        "paths": {"/v1/x": {"post": {"requestBody": body("Sent"), "responses": {"200": body("Seen")}}}},
    }
    source = modules({"one": document})["one"]
    assert source.partition("\n\n\n")[2] == (
        'class Inner(Exchanged):\n    """A part."""\n\n    seed: int = 7\n\n\n'
        'class Sent(Request):\n    """Sent."""\n\n    inner: Inner = Field(default_factory=Inner)\n'
        '    kind: Literal["a"] = "a"\n\n\n'
        'class Seen(Answer):\n    """Seen."""\n\n    inner: Inner\n    state: str\n    """Its state."""\n'
        "    rows: list[Inner] = Field(default=[])\n"
    )
