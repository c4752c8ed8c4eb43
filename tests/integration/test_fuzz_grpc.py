"""Every gRPC method with messages of its type, with bytes that are not a message, and without a token."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from primitives.activation_extraction.v1 import activation_extraction_pb2
from primitives.annotation.v1 import annotation_pb2
from primitives.patch_rendering.v1 import patch_rendering_pb2
from primitives.training.v1 import training_pb2

from deploy.local.servers import Server
from services.cli.migrations import SERVICES
from tests.integration.finished import Finished, finished_plan
from tests.servers import fresh_database

PROTOS = dict(
    zip(SERVICES, (training_pb2, activation_extraction_pb2, patch_rendering_pb2, annotation_pb2), strict=True)
)
METHODS = [
    pytest.param(name, method, id=method.full_name.removeprefix("primitives."))
    for name, proto in PROTOS.items()
    for service in proto.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
DEFECTS = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)
EXAMPLES, LONG_EXAMPLES = 20, 200
"""Messages for each method under `make test` and under `make chaos`."""
LIMIT_S = 60.0
STREAM_LIMIT_S = 2.0
"""A stream of something that never ends is left after this time."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, postgres: Server) -> Iterator[Finished]:
    with finished_plan(tmp_path_factory.mktemp("finished"), fresh_database(postgres)) as plan:
        yield plan


@pytest.fixture(scope="module")
def channels(finished: Finished) -> Iterator[dict[str, grpc.Channel]]:
    channels = {name: grpc.insecure_channel(finished.grpc(name)) for name in SERVICES}
    yield channels
    for channel in channels.values():
        channel.close()


def code_of(channel: grpc.Channel, method: MethodDescriptor, request: bytes, metadata: Any = ()) -> grpc.StatusCode:
    """Make a call and return its status code."""
    service, _, name = method.full_name.rpartition(".")
    try:
        if not method.server_streaming:
            channel.unary_unary(f"/{service}/{name}")(request, metadata=metadata, timeout=LIMIT_S)
        else:
            list(channel.unary_stream(f"/{service}/{name}")(request, metadata=metadata, timeout=STREAM_LIMIT_S))
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        if method.server_streaming and code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return grpc.StatusCode.OK  # it ran until we left
        return code
    return grpc.StatusCode.OK


def metadata_of(finished: Finished) -> tuple[tuple[str, str], ...]:
    """Return the metadata of a program's call."""
    return (("authorization", finished.headers["authorization"]), ("reader", "Fuzz"))


def messages(kind: Descriptor, known: dict[str, list[str]], depth: int = 4) -> st.SearchStrategy[Message]:
    """Generate messages of a type: any fields with any values, including names of existing things."""
    fields = [field for field in kind.fields if depth > 0 or field.message_type is None]

    @st.composite
    def build(draw: st.DrawFn) -> Message:
        built: Message = message_factory.GetMessageClass(kind)()
        for field in fields:
            if draw(st.integers(0, 3)):
                _fill(built, field, draw, known, depth)
        return built

    return build()


def _fill(built: Message, field: FieldDescriptor, draw: st.DrawFn, known: dict[str, list[str]], depth: int) -> None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        if value.message_type is None:
            getattr(built, field.name)[draw(_scalars(key, known))] = draw(_scalars(value, known))
        return
    one = messages(field.message_type, known, depth - 1) if field.message_type is not None else _scalars(field, known)
    if field.is_repeated:
        getattr(built, field.name).extend(draw(st.lists(one, max_size=3)))
    elif field.message_type is not None:
        getattr(built, field.name).CopyFrom(draw(one))
    else:
        setattr(built, field.name, draw(one))


def _scalars(field: FieldDescriptor, known: dict[str, list[str]]) -> st.SearchStrategy[Any]:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        if field.type == FieldDescriptor.TYPE_BYTES:
            return st.binary(max_size=64)
        letters = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
        return st.one_of(st.sampled_from(known[field.name]), letters) if field.name in known else letters
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return st.sampled_from([value.number for value in field.enum_type.values])
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return st.floats(width=32)
    bits = 32 if kind in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_UINT32) else 64
    signed = kind in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.one_of(st.integers(0, 3), st.integers(low, high))


@pytest.mark.parametrize("examples", [EXAMPLES, pytest.param(LONG_EXAMPLES, marks=pytest.mark.long)])
@pytest.mark.parametrize(("service", "method"), METHODS)
def test_a_method_answers_every_message(
    finished: Finished, channels: dict[str, grpc.Channel], service: str, method: MethodDescriptor, examples: int
) -> None:
    """For any message of the right type, the status is OK or names a fault of the caller."""

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(messages(method.input_type, finished.known))
    def call(request: Message) -> None:
        code = code_of(channels[service], method, request.SerializeToString(), metadata_of(finished))
        assert code not in DEFECTS, request

    call()


@pytest.mark.parametrize(("service", "method"), METHODS)
def test_a_method_answers_every_bytes(
    finished: Finished, channels: dict[str, grpc.Channel], service: str, method: MethodDescriptor
) -> None:
    """Bytes that are not a message are a fault of the caller too."""

    @settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.binary(min_size=1, max_size=64))
    def call(request: bytes) -> None:
        assert code_of(channels[service], method, request, metadata_of(finished)) not in DEFECTS

    call()
    broken = b"\x0a\xff\xff\xff\xff\x0f"  # a string that is longer than the message
    assert code_of(channels[service], method, broken, metadata_of(finished)) is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(("service", "method"), METHODS)
def test_a_method_needs_a_token(channels: dict[str, grpc.Channel], service: str, method: MethodDescriptor) -> None:
    """Without a token, or with a wrong one, a method returns nothing."""
    for shown in ((), (("authorization", "Bearer guess"),)):
        assert code_of(channels[service], method, b"", shown) is grpc.StatusCode.UNAUTHENTICATED
