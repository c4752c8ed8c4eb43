"""The models of the Python client, generated from the OpenAPI documents of the services.

python -m deploy.release.client_models    write client/primitives_client/models

Constraints are left out, because the services check requests. In answers, an enumeration is a plain string, because a
later service may answer with a new value (docs/contracts.md). Deprecated fields are left out.
"""

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from deploy.release.contracts import ROOT, openapi_documents

FOLDER = ROOT / "client" / "primitives_client" / "models"
COMMON = "common"
PREFIX = "#/components/schemas/"
TYPES = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
COMMAND = "python -m deploy.release.client_models"
LINE = 116
"""Characters in a line of a docstring, without its indentation."""

Schema = dict[str, Any]


class Service:
    """The schemas of one OpenAPI document, and whether they occur in requests, in answers or in both."""

    def __init__(self, name: str, document: dict[str, Any]) -> None:
        self.name = name
        document = without_enumerations(document)
        self.schemas: dict[str, Schema] = document["components"]["schemas"]
        calls = [call for path in document["paths"].values() for call in path.values()]
        self.sent = self._closure(call.get("requestBody", {}) for call in calls)
        self.answered = self._closure(call["responses"] for call in calls)

    def base(self, name: str) -> str:
        """The base class of a schema's model."""
        if name not in self.sent:
            return "Answer"
        return "Exchanged" if name in self.answered else "Request"

    def _closure(self, places: Iterable[Any]) -> set[str]:
        """Return the schemas to which places of the document refer, also through other schemas."""
        found: set[str] = set()
        unread = {name for place in places for name in references(place)}
        while unread:
            found |= unread
            unread = {name for one in unread for name in references(self.schemas[one])} - found
        return found


class Writer:
    """Writes the classes of one module, each after those that it refers to."""

    def __init__(self, service: Service, common: set[str]) -> None:
        self._service, self._common = service, common
        self._bases: set[str] = set()
        self._shared: set[str] = set()
        self._classes: dict[str, str] = {}

    def module(self, names: Iterable[str], title: str) -> str:
        """Return the source of a module with the models of some schemas."""
        for name in names:
            self._add(name)
        body = "\n\n\n".join(self._classes.values())
        imports = [
            _import("typing", [word for word in ("Any", "Literal") if f"{word}[" in body or f" {word}" in body]),
            _import("pydantic", ["Field"] if "Field(" in body else []),
            _import("primitives_client.models.base", sorted(self._bases)),
            _import("primitives_client.models.common", sorted(self._shared)),
        ]
        head = f'"""{title}\n\nWritten by `{COMMAND}`; do not edit.\n"""'
        return _formatted("\n\n".join([head, "\n".join(filter(None, imports)), body]) + "\n")

    def _add(self, name: str) -> None:
        if name in self._classes:
            return
        if name in self._common:
            self._shared.add(name)
            return
        schema = self._service.schemas[name]
        for used in references(schema.get("properties", {})):
            self._add(used)
        base = self._service.base(name)
        self._bases.add(base)
        lines = [f"class {name}({base}):", _docstring(schema.get("description", f"{name}."))]
        required = schema.get("required", [])
        for field, content in schema.get("properties", {}).items():
            if not content.get("deprecated", False):
                lines.append(self._field(field, content, field in required, base))
        self._classes[name] = "\n".join(lines)

    def _field(self, name: str, schema: Schema, required: bool, base: str) -> str:
        kind = type_of(schema, is_strict=base == "Request")
        text = f"    {name}: {kind}"
        if not required:
            text += self._default(kind, schema) if "default" in schema else _empty(kind)
        return f"{text}\n{_docstring(schema['description'])}" if "description" in schema else text

    def _default(self, kind: str, schema: Schema) -> str:
        value = schema["default"]
        if kind in self._service.schemas:
            return f" = Field(default_factory=lambda: {kind}.model_validate({value!r}))"
        return f" = Field(default={value!r})" if isinstance(value, list | dict) else f" = {value!r}"


def without_enumerations(document: dict[str, Any]) -> dict[str, Any]:
    """Put each named enumeration into the places that refer to it: its values are plain strings, not models."""
    schemas = document["components"]["schemas"]
    named = {PREFIX + name: schema for name, schema in schemas.items() if "enum" in schema}

    def inlined(part: Any) -> Any:
        if isinstance(part, list):
            return [inlined(one) for one in part]
        if not isinstance(part, dict):
            return part
        return named.get(part.get("$ref", "")) or {name: inlined(value) for name, value in part.items()}

    others = {name: schema for name, schema in schemas.items() if "enum" not in schema}
    return dict(inlined(document | {"components": {"schemas": others}}))


def references(schema: Any) -> Iterator[str]:
    """Yield the names of the schemas to which a part of a document refers."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"].removeprefix(PREFIX)
        for value in schema.values():
            yield from references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from references(value)


def type_of(schema: Schema, is_strict: bool) -> str:
    """Return the annotation of a schema. Only `is_strict` ones have the values of enumerations."""
    if "$ref" in schema:
        return str(schema["$ref"]).removeprefix(PREFIX)
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        kinds = list(dict.fromkeys(type_of(one, is_strict) for one in choices))
        return " | ".join(kind for kind in kinds if not _is_within(kind, kinds))
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if values and is_strict:
        return f"Literal[{', '.join(map(repr, values))}]"
    kind = schema.get("type")
    if kind == "array":
        return f"list[{type_of(schema.get('items') or {'anyOf': schema['prefixItems']}, is_strict)}]"
    if kind == "object":
        inner = schema.get("additionalProperties", True)
        return f"dict[str, {'Any' if inner is True else type_of(inner, is_strict)}]"
    return TYPES[kind] if kind else "Any"


def modules(documents: dict[str, Any]) -> dict[str, str]:
    """Return the source of each generated module by its name. Schemas that several services have are in `common`."""
    services = [Service(name, document) for name, document in documents.items()]
    common = {name for name in _all_names(services) if _is_common(services, name)}
    sources = {}
    for service in services:
        own = [name for name in service.schemas if name not in common]
        title = f"Requests and answers of the {service.name.replace('_', ' ')} service."
        sources[service.name] = Writer(service, common).module(own, title)
    union = _merged(services, common)
    sources[COMMON] = Writer(union, set()).module(sorted(common), "Answers that several services have.")
    return sources


def write(folder: Path = FOLDER) -> None:
    """Write the modules of today's documents."""
    for name, source in modules(openapi_documents()).items():
        (folder / f"{name}.py").write_text(source)


def _all_names(services: list[Service]) -> set[str]:
    return {name for service in services for name in service.schemas}


def _is_common(services: list[Service], name: str) -> bool:
    """Whether several services have a schema, the same one everywhere, and refer only to such schemas in it."""
    found = {json.dumps([one.schemas[name], one.base(name)]) for one in services if name in one.schemas}
    many = sum(name in service.schemas for service in services) > 1
    owner = next(service for service in services if name in service.schemas)
    return many and len(found) == 1 and all(_is_common(services, used) for used in references(owner.schemas[name]))


def _merged(services: list[Service], common: set[str]) -> Service:
    """Return one service that has the common schemas."""
    merged = Service(COMMON, {"components": {"schemas": {}}, "paths": {}})
    for service in services:
        for name in common & set(service.schemas):
            merged.schemas[name] = service.schemas[name]
            merged.sent |= {name} & service.sent
            merged.answered |= {name} & service.answered
    return merged


def _is_within(kind: str, kinds: list[str]) -> bool:
    """Whether another kind contains this one: a literal string next to any string."""
    return kind.startswith("Literal['") and "str" in kinds


def _empty(kind: str) -> str:
    """Return the default of a field that may be absent and has no default in the document."""
    if kind.startswith(("list[", "dict[")):
        return f" = Field(default_factory={kind.partition('[')[0]})"
    if "None" in kind.split(" | "):
        return " = None"
    if " | " in kind:  # one of several models; the service fills it in
        return " | None = None"
    return f" = Field(default_factory={kind})"


def _docstring(text: str) -> str:
    words = " ".join(text.replace("\\", "\\\\").split())
    lines = textwrap.wrap(f'"""{words}"""', LINE - 4, break_long_words=False, break_on_hyphens=False)
    return textwrap.indent("\n".join(lines), "    ")


def _import(module: str, names: list[str]) -> str:
    return f"from {module} import {', '.join(names)}" if names else ""


def _formatted(source: str) -> str:
    command = [sys.executable, "-m", "ruff"]
    sorted_ = subprocess.run(
        [*command, "check", "--fix-only", "--select", "I", "--quiet", "--stdin-filename", str(FOLDER / "x.py"), "-"],
        input=source, capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    done = subprocess.run(
        [*command, "format", "--stdin-filename", str(FOLDER / "x.py"), "-"],
        input=sorted_.stdout, capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    return done.stdout


if __name__ == "__main__":
    write()
