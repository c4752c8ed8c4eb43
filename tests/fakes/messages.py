"""Protobuf messages of services that exist only in tests."""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, symbol_database


def define_message(name: str, *fields: str) -> Any:
    """A message class of the package `primitives.example.v1` with text fields, as if a .proto file defined it."""
    file = descriptor_pb2.FileDescriptorProto(
        name=f"primitives/example/v1/{name}.proto", package="primitives.example.v1", syntax="proto3"
    )
    message = file.message_type.add(name=name)
    for number, field in enumerate(fields, 1):
        kind, label = (
            descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
            descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
        )
        message.field.add(name=field, number=number, type=kind, label=label)
    pool = descriptor_pool.Default()
    pool.Add(file)
    defined = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"primitives.example.v1.{name}"))
    symbol_database.Default().RegisterMessage(defined)
    return defined


CountPatches: Any = define_message("CountPatches", "census_id")
