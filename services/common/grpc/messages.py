"""Conversion of views to protobuf messages, and of protobuf requests to the models of the HTTP side."""

from typing import Any, TypeVar

from google.protobuf import json_format, message
from pydantic import BaseModel, ValidationError

from services.common import errors

M = TypeVar("M", bound=message.Message)
V = TypeVar("V", bound=BaseModel)


def to_message(view: BaseModel, kind: type[M]) -> M:
    """Convert a view (a response model of the HTTP side) to a protobuf message with the same fields.

    A field that is None keeps its default. None in a list becomes NaN, since protobuf lists have no holes.
    """
    return from_json(view.model_dump(mode="json", exclude_none=True), kind)


def from_json(content: Any, kind: type[M]) -> M:
    """Convert the JSON of a view to a protobuf message with the same fields.

    A null in a list becomes NaN; any other null leaves its field unset. ParseError if a field has another type.
    """
    return json_format.ParseDict(_fill_holes(content), kind(), ignore_unknown_fields=True)


def to_request(content: message.Message, kind: type[V]) -> V:
    """Convert a protobuf request to the model of the HTTP side. InvalidInput names the fields that do not fit."""
    try:
        return kind.model_validate(json_format.MessageToDict(content, preserving_proto_field_name=True))
    except ValidationError as error:
        raise errors.InvalidInput(errors.describe_faults(error.errors())) from error


def _fill_holes(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _fill_holes(item) for name, item in value.items()}
    if isinstance(value, list):
        return ["NaN" if item is None else _fill_holes(item) for item in value]
    return value
