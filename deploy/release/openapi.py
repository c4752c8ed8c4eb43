"""What of an OpenAPI document breaks those who were written against an earlier one.

A caller's request must still be taken: all that the earlier document allows, today's allows. A caller must still
understand the answer: all that today's answers may hold, the earlier document names, but for new fields and new values
of an enumeration, which callers have to pass over.
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
    """What breaks, a line each that names the operation and the field; empty if nothing does."""
    return list(dict.fromkeys(_paths(_Document(released), _Document(today))))


class _Document:
    """An OpenAPI document whose references can be followed."""

    def __init__(self, content: Schema) -> None:
        self.paths: Mapping[str, Schema] = content["paths"]
        self._schemas = content.get("components", {}).get("schemas", {})

    def follow(self, schema: Schema) -> Schema:
        """The schema that a reference names; any other as it is."""
        while "$ref" in schema:
            schema = self._schemas[schema["$ref"].rpartition("/")[2]]
        return schema

    def alternatives(self, schema: Schema) -> list[Schema]:
        """The schemas of which one has to hold, each of one type."""
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
                yield from _answers(released, today, operations[method], now, name)


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


def _answers(released: _Document, today: _Document, then: Schema, now: Schema, name: str) -> Iterator[str]:
    for code, answer in then["responses"].items():
        where = f"{name}: answer {code}"
        if code not in now["responses"]:
            yield f"{where} is gone"
            continue
        excess = _Excess(today, released, strict=False)

        def compare(earlier: Schema, later: Schema, place: str, excess: "_Excess" = excess) -> Iterator[str]:
            return excess.of(later, earlier, place)

        yield from _contents(answer, now["responses"][code], where, compare)


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
    """What the schemas of one document allow beyond those of the other. `strict` is for requests: values of
    enumerations and bounds count, and a field that the other does not know."""

    sender: _Document
    receiver: _Document
    strict: bool
    _under_way: set[tuple[int, int]] = field(default_factory=set)

    def of(self, sent: Schema, taken: Schema, where: str) -> Iterator[str]:
        """Lines for what `sent` may hold and `taken` does not allow."""
        receivers = self.receiver.alternatives(taken)
        for one in self.sender.alternatives(sent):
            found = [list(self._of_pair(one, other, where)) for other in receivers]
            yield from min(found, key=len)

    def _of_pair(self, sent: Schema, taken: Schema, where: str) -> Iterator[str]:
        pair = (id(sent), id(taken))
        if pair not in self._under_way:  # a schema may hold itself
            self._under_way.add(pair)
            yield from self._of_one(sent, taken, where)
            self._under_way.discard(pair)

    def _of_one(self, sent: Schema, taken: Schema, where: str) -> Iterator[str]:
        kinds = (sent.get("type"), taken.get("type"))
        if kinds[1] is not None and kinds[0] != kinds[1] and kinds != ("integer", "number"):
            yield f"{where} was {self._told(*kinds)}"
            return
        yield from self._of_values(sent, taken, where)
        yield from self._of_fields(sent, taken, where)
        if "items" in sent and "items" in taken:
            yield from self.of(sent["items"], taken["items"], f"{where}[]")
        for number, (item, other) in enumerate(
            zip(sent.get("prefixItems", ()), taken.get("prefixItems", ()), strict=False)
        ):
            yield from self.of(item, other, f"{where}[{number}]")

    def _told(self, sent: object, taken: object) -> str:
        then, now = (sent, taken) if self.strict else (taken, sent)
        return f"{then} and is {now} now"

    def _of_values(self, sent: Schema, taken: Schema, where: str) -> Iterator[str]:
        if not self.strict:
            return
        gone = [value for value in _values(sent) or () if value not in (_values(taken) or (value,))]
        if gone:
            yield f"{where} no longer takes {', '.join(map(repr, gone))}"
        if _values(taken) and not _values(sent):
            yield f"{where} takes only {', '.join(map(repr, _values(taken) or ()))} now"
        for bounds, sign in ((LOWER_BOUNDS, 1), (UPPER_BOUNDS, -1)):
            for bound in bounds:
                if bound in taken and (bound not in sent or sign * taken[bound] > sign * sent[bound]):
                    yield f"{where} has {bound} {taken[bound]} now, before {sent.get(bound, 'none')}"
        for word in FIXED:
            if word in taken and taken[word] != sent.get(word):
                yield f"{where} has {word} {taken[word]!r} now, before {sent.get(word, 'none')!r}"

    def _of_fields(self, sent: Schema, taken: Schema, where: str) -> Iterator[str]:
        fields, known = sent.get("properties", {}), taken.get("properties", {})
        for name, schema in fields.items():
            if name in known:
                yield from self.of(schema, known[name], f"{where}.{name}")
            elif self.strict:
                yield f"{where}.{name} is gone"
        for name in known.keys() - fields.keys() if not self.strict else ():
            yield f"{where}.{name} is gone"
        for name in taken.get("required", ()):
            if name not in sent.get("required", ()) and (self.strict or name in fields):
                yield f"{where}.{name} is {'required' if self.strict else 'optional'} now"
        if isinstance(sent.get("additionalProperties"), dict) and isinstance(taken.get("additionalProperties"), dict):
            yield from self.of(sent["additionalProperties"], taken["additionalProperties"], f"{where}.*")


def _values(schema: Schema) -> list[Any] | None:
    """The values that an enumeration or a constant allows; None where any will do."""
    return [schema["const"]] if "const" in schema else schema.get("enum")
