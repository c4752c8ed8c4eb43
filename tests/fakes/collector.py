"""An OTLP collector in this process. It stores the spans that it receives."""

from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


class CollectedSpan(NamedTuple):
    """A span as it was received."""

    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]

    @property
    def service(self) -> str:
        """The service of ours that made the span."""
        return str(self.attributes.get("primitives.service", ""))


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Stores spans by trace."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.traces: defaultdict[str, list[CollectedSpan]] = defaultdict(list)

    def Export(self, request: trace_service_pb2.ExportTraceServiceRequest, _: grpc.ServicerContext) -> Any:
        """Store spans."""
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for one in scope.spans:
                    values = {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in one.attributes}
                    trace = one.trace_id.hex()
                    self.traces[trace].append(
                        CollectedSpan(one.name, trace, one.span_id.hex(), one.parent_span_id.hex(), values)
                    )
        return trace_service_pb2.ExportTraceServiceResponse()


@contextmanager
def collector() -> Iterator[Collector]:
    """Run a collector on a free port for the block."""
    made = Collector()
    server = grpc.server(ThreadPoolExecutor(4, "collector"))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(made, server)
    made.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield made
    finally:
        server.stop(0).wait()
