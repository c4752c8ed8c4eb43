"""Column types that mean the same on every database."""

from datetime import UTC, datetime
from typing import Any

from google.protobuf import json_format, message
from pydantic import TypeAdapter
from sqlalchemy import JSON, DateTime
from sqlalchemy.types import TypeDecorator

from services.common.blobs import ObjectRef


class UtcTime(TypeDecorator[datetime]):
    """A moment with its zone. SQLite forgets zones, so UTC goes in and UTC comes out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Any) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError(f"time {value} has no zone")
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: datetime | None, _dialect: Any) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class ModelColumn(TypeDecorator[Any]):
    """A JSON column that holds a pydantic model, or any type that pydantic validates, such as `list[EpochMetrics]`.

    Rows hold the model itself: `manifest: Mapped[ObjectRef | None] = mapped_column(Reference)`. Assign a new value to
    change it. A column that is `never_null` in the database stores None as `{}`, and reads that as None.
    """

    impl = JSON
    cache_ok = True

    def __init__(self, model: Any, never_null: bool = False) -> None:
        super().__init__()
        self.model, self.never_null = model, never_null
        self._adapter: TypeAdapter[Any] = TypeAdapter(model)

    def process_bind_param(self, value: Any, _dialect: Any) -> Any:
        if value is None:
            return {} if self.never_null else None
        return self._adapter.dump_python(self._adapter.validate_python(value), mode="json")

    def process_result_value(self, value: Any, _dialect: Any) -> Any:
        if value is None or (self.never_null and value == {}):
            return None
        # Unlike requests, rows may have fields that this version does not know: a newer one may have written them.
        return self._adapter.validate_python(value, extra="ignore")


class MessageColumn(TypeDecorator[message.Message]):
    """A JSON column that holds a protobuf message, in protobuf's JSON with the field names of the .proto file."""

    impl = JSON
    cache_ok = True

    def __init__(self, kind: type[message.Message]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: message.Message | None, _dialect: Any) -> Any:
        return None if value is None else json_format.MessageToDict(value, preserving_proto_field_name=True)

    def process_result_value(self, value: Any, _dialect: Any) -> message.Message | None:
        return None if value is None else json_format.ParseDict(value, self.kind(), ignore_unknown_fields=True)


Reference = ModelColumn(ObjectRef)
"""The type of a column that holds the reference of an object."""


def now() -> datetime:
    """This moment, in UTC."""
    return datetime.now(UTC)
