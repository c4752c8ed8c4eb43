"""Traces: one follows a plan from the call that began it through every message and every service.

The context travels as a W3C `traceparent`: in the headers of calls, in those of messages, and in the rows of the outbox
between them. We inject and extract it ourselves: the instrumentation of pika doubles spans where a channel has several
consumers. Spans go to a collector where one is named, and nowhere else; ids are given in any case, since log lines
carry them.
"""

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services import __version__
from services.common.observability.logs import add_log_ids, get_logger, log_ids, log_scope

log = get_logger(__name__)

EXPORT_LIMIT_S = 5
"""Seconds that one attempt to hand spans over may take."""

_TRACER = trace.get_tracer("primitives", __version__)
_FORMAT = TraceContextTextMapPropagator()


def configure_tracing(process: str, endpoint: str) -> None:
    """Hand the spans of this process to an OTLP collector over gRPC, in the background; to nobody where no endpoint is
    set. Called once, by the process' entry point."""
    if not endpoint:
        return
    # Loaded only where it is used.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": process, "service.version": __version__}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_LIMIT_S)))
    trace.set_tracer_provider(provider)
    logging.getLogger("opentelemetry").addHandler(_IntoOurs())


@contextmanager
def span(
    name: str, service: str, kind: SpanKind = SpanKind.INTERNAL, parent: str | None = None, **attributes: str | int
) -> Iterator[Span]:
    """A span around a block, whose log lines carry the id of its trace. It has the ids of `log_scope` as attributes.

    It belongs to the span around it, or to `parent`, a traceparent; an empty or broken one begins a trace.
    """
    context = None if parent is None else _FORMAT.extract({"traceparent": parent}, Context())
    ids = {key: value for key, value in log_ids().items() if key != "trace_id"}
    told = {f"primitives.{key}": value for key, value in {"service": service, **ids, **attributes}.items()}
    begun = _TRACER.start_span(name, context, kind=kind, attributes=told)
    if not begun.get_span_context().is_valid:  # nobody collects spans, and nobody gave us a trace
        begun = NonRecordingSpan(_new_context())
    with (
        trace.use_span(begun, end_on_exit=True),
        log_scope(trace_id=trace.format_trace_id(begun.get_span_context().trace_id)),
    ):
        yield begun


def add_trace_ids(**ids: str) -> None:
    """Say what the work in hand is about: its span, and the log lines that follow in its scope, carry these ids."""
    add_log_ids(**ids)
    for name, value in ids.items():
        if value:
            trace.get_current_span().set_attribute(f"primitives.{name}", value)


def traceparent() -> str:
    """The span in hand as whoever goes on with its trace is told; empty outside all spans."""
    carrier: dict[str, str] = {}
    _FORMAT.inject(carrier)
    return carrier.get("traceparent", "")


def _new_context() -> SpanContext:
    return SpanContext(secrets.randbits(128) or 1, secrets.randbits(64) or 1, False, TraceFlags(TraceFlags.DEFAULT))


class _IntoOurs(logging.Handler):
    """What the exporter has to say of a collector that does not answer, as a line of our logs."""

    def emit(self, record: logging.LogRecord) -> None:
        log.warning("spans not handed over", reason=record.getMessage())
