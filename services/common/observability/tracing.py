"""Traces: one trace follows a plan from its first call through every message and every service.

The context travels as a W3C `traceparent`: in the headers of calls and messages, and in the rows of the outbox between
them. We inject and extract it ourselves, because the instrumentation of pika doubles spans where a channel has several
consumers. Spans are exported only if a collector is configured; they always have ids, since log lines carry them.
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
"""Seconds that one attempt to export spans may take."""

_TRACER = trace.get_tracer("primitives", __version__)
_FORMAT = TraceContextTextMapPropagator()


def configure_tracing(process: str, endpoint: str) -> None:
    """Export the spans of this process to an OTLP collector over gRPC, in the background, if an endpoint is set.

    Called once, by the entry point of the process.
    """
    if not endpoint:
        return
    # Loaded only where they are used.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": process, "service.version": __version__}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_LIMIT_S)))
    trace.set_tracer_provider(provider)
    logging.getLogger("opentelemetry").addHandler(_LogForwarder())


@contextmanager
def span(
    name: str, service: str, kind: SpanKind = SpanKind.INTERNAL, parent: str | None = None, **attributes: str | int
) -> Iterator[Span]:
    """Trace a block as one span, with the ids of `log_scope` as attributes. Its log lines carry the trace id.

    The span is a child of the current span, or of `parent`, a traceparent; an empty or broken one begins a new trace.
    """
    context = None if parent is None else _FORMAT.extract({"traceparent": parent}, Context())
    ids = {key: value for key, value in log_ids().items() if key != "trace_id"}
    attributes = {f"primitives.{key}": value for key, value in {"service": service, **ids, **attributes}.items()}
    begun = _TRACER.start_span(name, context, kind=kind, attributes=attributes)
    if not begun.get_span_context().is_valid:  # spans are not collected, and no caller sent a trace
        begun = NonRecordingSpan(_new_context())
    with (
        trace.use_span(begun, end_on_exit=True),
        log_scope(trace_id=trace.format_trace_id(begun.get_span_context().trace_id)),
    ):
        yield begun


def add_trace_ids(**ids: str) -> None:
    """Add ids of the current work to its span, and to the log lines that follow in its scope."""
    add_log_ids(**ids)
    for name, value in ids.items():
        if value:
            trace.get_current_span().set_attribute(f"primitives.{name}", value)


def traceparent() -> str:
    """Return the current span as a W3C traceparent; empty outside all spans."""
    carrier: dict[str, str] = {}
    _FORMAT.inject(carrier)
    return carrier.get("traceparent", "")


def _new_context() -> SpanContext:
    return SpanContext(secrets.randbits(128) or 1, secrets.randbits(64) or 1, False, TraceFlags(TraceFlags.DEFAULT))


class _LogForwarder(logging.Handler):
    """Logs the exporter's messages, such as that the collector does not answer, as lines of our own log."""

    def emit(self, record: logging.LogRecord) -> None:
        log.warning("spans not exported", reason=record.getMessage())
