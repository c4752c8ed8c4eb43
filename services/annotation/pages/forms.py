"""Forms that are made from the JSON schema of a request, so that they have its fields, defaults and limits."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import FormData

from services.common.errors import InvalidInput, describe_faults
from services.common.identity import new_id
from services.common.redaction import quoted

Line = Annotated[str, Field(max_length=4000)]
"""A typed text. What it may contain is checked by the service that receives it."""


class SentForm(BaseModel):
    """The fields of a form that starts something. `key` makes sure that a form that is sent twice starts it once."""

    model_config = ConfigDict(extra="ignore", str_strip_whitespace=True)

    key: str = Field(pattern="^form-[a-z0-9]{1,40}$")

    @classmethod
    def read(cls, form: FormData) -> Self:
        """Read a sent form. InvalidInput names the fields that do not fit."""
        single = {name: str(value) for name, value in form.items()}
        several = {name: [str(one) for one in form.getlist(name)] for name in cls.lists()}
        try:
            return cls.model_validate(single | several)
        except ValidationError as error:
            raise InvalidInput(describe_faults(error.errors())) from error

    @classmethod
    def lists(cls) -> tuple[str, ...]:
        """The fields that a form may have several times."""
        return ()


def new_key() -> str:
    """A key for a form that is shown."""
    return new_id("form")


class FormField(NamedTuple):
    """A field of a form. `kind` is text, number, choice, check, list or numbers."""

    name: str
    kind: str
    default: str
    hint: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    whole: bool = False

    @property
    def label(self) -> str:
        """The name in words."""
        return self.name.replace("_", " ").capitalize()


def fields_of(schema: Mapping[str, Any], names: Sequence[str] = ()) -> list[FormField]:
    """The fields of a JSON schema, all of them or those with some names, in that order."""
    properties: Mapping[str, Any] = schema["properties"]
    return [_field(name, properties[name]) for name in names or properties if name in properties]


def values_of(fields: Iterable[FormField]) -> dict[str, str]:
    """The values of a form that nobody has filled in."""
    return {field.name: field.default for field in fields}


def read_values(fields: Iterable[FormField], form: Mapping[str, str]) -> dict[str, Any]:
    """The values in a form, for the request. An empty field leaves the default to the service. InvalidInput names a
    field that is not of its kind; the service checks all else."""
    found = {}
    for field in fields:
        text = form.get(field.name, "").strip()
        if field.kind == "check":
            found[field.name] = text == "yes"
        elif text or field.kind in ("list", "numbers"):
            found[field.name] = _value(field, text)
    return found


def texts_of(form: FormData, fields: Iterable[FormField] = (), names: Iterable[str] = ()) -> dict[str, str]:
    """The texts of a sent form, by name; empty for the fields that it lacks, as an unmarked box."""
    wanted = [*names, *(field.name for field in fields)]
    return {name: str(form.get(name, "")) for name in wanted}


def _field(name: str, found: Mapping[str, Any]) -> FormField:
    default, hint = found.get("default"), str(found.get("description", ""))
    if "enum" in found:
        return FormField(name, "choice", str(default), hint, tuple(map(str, found["enum"])))
    kind = found.get("type")
    if kind == "boolean":
        return FormField(name, "check", "yes" if default else "", hint)
    if kind in ("integer", "number"):
        least = found.get("minimum", found.get("exclusiveMinimum"))
        most = found.get("maximum", found.get("exclusiveMaximum"))
        return FormField(name, "number", _written(default), hint, (), least, most, kind == "integer")
    if kind == "array":
        numbers = found.get("items", {}).get("type") in ("integer", "number")
        return FormField(name, "numbers" if numbers else "list", "", hint)
    return FormField(name, "text", str(default or ""), hint)


def _written(number: float | None) -> str:
    return "" if number is None else f"{number:g}" if isinstance(number, float) else str(number)


def _value(field: FormField, text: str) -> Any:
    parts = text.replace(",", " ").split()
    if field.kind == "number":
        return _number(field, text)
    if field.kind == "numbers":
        return [_number(field._replace(whole=True), part) for part in parts]
    if field.kind == "list":
        return parts
    if field.kind == "choice" and text.isdecimal() and text in field.choices:
        return int(text)
    return text


def _number(field: FormField, text: str) -> float | int:
    read: Callable[[str], float | int] = int if field.whole else float
    fault = InvalidInput(f"{field.label}: {quoted(text)} is not {'a whole number' if field.whole else 'a number'}")
    try:
        number = read(text)
    except ValueError as error:
        raise fault from error
    if not math.isfinite(number):  # JSON has no NaN
        raise fault
    return number
