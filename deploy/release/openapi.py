"""Finds the changes of an OpenAPI document that break callers of an earlier version.

A caller's request must still be accepted: today's document must allow every request that the earlier one allows. A
caller must still understand the response: the earlier document must describe everything that today's responses may
contain, except new fields and new values of an enumeration, which callers have to ignore.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Schema = Mapping[str, Any]

METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
LOWER_BOUNDS = ("minimum", "exclusiveMinimum", "minLength", "minItems")
UPPER_BOUNDS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")
FIXED = ("pattern", "format", "multipleOf")


def find_breaks(released: Schema, today: Schema) -> list[str]:
    """Return one line per breaking change, which names the operation and the field."""
    return list(dict.fromkeys(_paths(_Document(released), _Document(today))))


class _Document:
    """An OpenAPI document whose references can be followed."""

    def __init__(self, content: Schema) -> None:
        self.paths: Mapping[str, Schema] = content["paths"]
        self._schemas = content.get("components", {}).get("schemas", {})

    def follow(self, schema: Schema) -> Schema:
        """Return the schema that a reference names, or a schema itself."""
        while "$ref" in schema:
            schema = self._schemas[schema["$ref"].rpartition("/")[2]]
        return schema

    def alternatives(self, schema: Schema) -> list[Schema]:
        """Return the alternatives of a schema, one of which must match. Each has one type."""
        schema = self.follow(schema)
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return [one for part in schema[word] for one in self.alternatives(part)]
        if isinstance(schema.get("type"), list):
            return [{**schema, "type": kind} for kind in schema["type"]]
        return [schema]


def _paths(released: _Document, today: _Document) -> Iterator[str]:
    for path, operations in released.paths.items():
        for method in METHODS:
            if method not in operations:
                continue
            name = f"{method.upper()} {path}"
            now = today.paths.get(path, {}).get(method)
            if now is None:
                yield f"{name} is gone"
            else:
                yield from _parameters(released, today, operations[method], now, name)
                yield from _body(released, today, operations[method], now, name)
                yield from _responses(released, today, operations[method], now, name)


def _parameters(released: _Document, today: _Document, then: Schema, now: Schema, name: str) -> Iterator[str]:
    before, after = _by_place(then), _by_place(now)
    for place, parameter in before.items():
        where = f"{name}: {place[0]} parameter {place[1]!r}"
        if place not in after:
            yield f"{where} is gone"
        else:
            yield from _Excess(released, today, strict=True).of(parameter["schema"], after[place]["schema"], where)
    for place, parameter in after.items():
        if parameter.get("required") and not before.get(place, {}).get("required"):
            yield f"{name}: {place[0]} parameter {place[1]!r} is required now"


def _by_place(operation: Schema) -> dict[tuple[str, str], Schema]:
    return {(one["in"], one["name"]): one for one in operation.get("parameters", ())}


def _body(released: _Document, today: _Document, then: Schema, now: Schema, name: str) -> Iterator[str]:
    before, after = then.get("requestBody", {}), now.get("requestBody", {})
    if after.get("required") and not before.get("required"):
        yield f"{name}: a body is required now"
    yield from _contents(before, after, f"{name}: body", _Excess(released, today, strict=True).of)


def _responses(released: _Document, today: _Document, then: Schema, now: Schema, name: str) -> Iterator[str]:
    for code, response in then["responses"].items():
        where = f"{name}: response {code}"
        if code not in now["responses"]:
            yield f"{where} is gone"
            continue
        excess = _Excess(today, released, strict=False)

        def compare(earlier: Schema, later: Schema, place: str, excess: "_Excess" = excess) -> Iterator[str]:
            return excess.of(later, earlier, place)

        yield from _contents(response, now["responses"][code], where, compare)


def _contents(
    before: Schema, after: Schema, where: str, compare: Callable[[Schema, Schema, str], Iterator[str]]
) -> Iterator[str]:
    for media, content in before.get("content", {}).items():
        if media not in after.get("content", {}):
            yield f"{where} of {media} is gone"
        elif "schema" in content:
            yield from compare(content["schema"], after["content"][media].get("schema", {}), where)


@dataclass
class _Excess:
    """Finds what the sender's schemas allow and the receiver's do not. `strict` is for requests: it also compares
    bounds and values of enumerations, and refuses fields that the receiver does not have."""

    sender: _Document
    receiver: _Document
    strict: bool
    _under_way: set[tuple[int, int]] = field(default_factory=set)

    def of(self, sent: Schema, accepted: Schema, where: str) -> Iterator[str]:
        """Yield a line for each thing that `sent` allows and `accepted` does not."""
        receivers = self.receiver.alternatives(accepted)
        for one in self.sender.alternatives(sent):
            found = [list(self._of_pair(one, other, where)) for other in receivers]
            yield from min(found, key=len)

    def _of_pair(self, sent: Schema, accepted: Schema, where: str) -> Iterator[str]:
        pair = (id(sent), id(accepted))
        if pair not in self._under_way:  # a schema may contain itself
            self._under_way.add(pair)
            yield from self._of_one(sent, accepted, where)
            self._under_way.discard(pair)

    def _of_one(self, sent: Schema, accepted: Schema, where: str) -> Iterator[str]:
        kinds = (sent.get("type"), accepted.get("type"))
        if kinds[1] is not None and kinds[0] != kinds[1] and kinds != ("integer", "number"):
            yield f"{where} was {self._type_change(*kinds)}"
            return
        yield from self._of_values(sent, accepted, where)
        yield from self._of_fields(sent, accepted, where)
        if "items" in sent and "items" in accepted:
            yield from self.of(sent["items"], accepted["items"], f"{where}[]")
        for number, (item, other) in enumerate(
            zip(sent.get("prefixItems", ()), accepted.get("prefixItems", ()), strict=False)
        ):
            yield from self.of(item, other, f"{where}[{number}]")

    def _type_change(self, sent: object, accepted: object) -> str:
        then, now = (sent, accepted) if self.strict else (accepted, sent)
        return f"{then} and is {now} now"

    def _of_values(self, sent: Schema, accepted: Schema, where: str) -> Iterator[str]:
        if not self.strict:
            return
        gone = [value for value in _values(sent) or () if value not in (_values(accepted) or (value,))]
        if gone:
            yield f"{where} no longer accepts {', '.join(map(repr, gone))}"
        if _values(accepted) and not _values(sent):
            yield f"{where} accepts only {', '.join(map(repr, _values(accepted) or ()))} now"
        for bounds, sign in ((LOWER_BOUNDS, 1), (UPPER_BOUNDS, -1)):
            for bound in bounds:
                if bound in accepted and (bound not in sent or sign * accepted[bound] > sign * sent[bound]):
                    yield f"{where} has {bound} {accepted[bound]} now, before {sent.get(bound, 'none')}"
        for word in FIXED:
            if word in accepted and accepted[word] != sent.get(word):
                yield f"{where} has {word} {accepted[word]!r} now, before {sent.get(word, 'none')!r}"

    def _of_fields(self, sent: Schema, accepted: Schema, where: str) -> Iterator[str]:
        fields, known = sent.get("properties", {}), accepted.get("properties", {})
        for name, schema in fields.items():
            if name in known:
                yield from self.of(schema, known[name], f"{where}.{name}")
            elif self.strict:
                yield f"{where}.{name} is gone"
        for name in known.keys() - fields.keys() if not self.strict else ():
            yield f"{where}.{name} is gone"
        for name in accepted.get("required", ()):
            if name not in sent.get("required", ()) and (self.strict or name in fields):
                yield f"{where}.{name} is {'required' if self.strict else 'optional'} now"
        if isinstance(sent.get("additionalProperties"), dict) and isinstance(
            accepted.get("additionalProperties"), dict
        ):
            yield from self.of(sent["additionalProperties"], accepted["additionalProperties"], f"{where}.*")


def _values(schema: Schema) -> list[Any] | None:
    """Return the values that an enumeration or a constant allows; None if any value is allowed."""
    return [schema["const"]] if "const" in schema else schema.get("enum")
