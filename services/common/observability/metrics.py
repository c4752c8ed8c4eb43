"""The Prometheus metrics of a process.

Each metric has the label `service`, since the four services may share one process; /metrics of a service shows only its
own samples (`registry_of`). The other labels have few values by construction: route templates, and names of methods,
queues, message types and functions, but never ids. No label is one that a scrape sets (`job`, `instance`): Prometheus
would rename it. docs/observability.md lists all metrics.
"""

from collections.abc import Callable, Iterable
from copy import copy

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

CALL_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
WORK_BUCKETS_S = (0.01, 0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0)

HTTP_REQUESTS = Histogram(
    "primitives_http_request_duration_seconds",
    "Seconds from a request to the beginning of its response.",
    ("service", "method", "route", "code"),
    buckets=CALL_BUCKETS_S,
)
HTTP_CLOSED = Counter(
    "primitives_http_closed_connections_total",
    "Connections that the server closed. reason: handshake, header, body, send (limits of time), malformed, crowded.",
    ("service", "reason"),
)
GRPC_REQUESTS = Histogram(
    "primitives_grpc_request_duration_seconds",
    "Seconds of a gRPC call; a Watch call lasts until its task or plan has ended.",
    ("service", "method", "code"),
    buckets=CALL_BUCKETS_S,
)
MESSAGES = Histogram(
    "primitives_message_duration_seconds",
    "Seconds of a delivery. outcome: done, dropped, deferred or retried (with the wait before), parked, returned.",
    ("service", "queue", "type", "outcome"),
    buckets=WORK_BUCKETS_S,
)
JOBS = Histogram(
    "primitives_job_duration_seconds",
    "Seconds of a job in a child process. outcome: done, stopped, failed, crashed.",
    ("service", "function", "outcome"),
    buckets=WORK_BUCKETS_S,
)
JOB_REPORTS = Counter(
    "primitives_job_reports_total", "Progress reports of jobs: signs of life.", ("service", "function")
)
PATCHES_EXTRACTED = Counter(
    "primitives_patches_extracted_total", "Patches that passed through a network.", ("service",)
)
IMAGES_TRAINED = Counter("primitives_images_trained_total", "Images that training steps used.", ("service",))
PICTURES_RENDERED = Counter("primitives_pictures_rendered_total", "Pictures of units drawn.", ("service",))
GPU_MEMORY = Gauge(
    "primitives_gpu_memory_bytes",
    "Memory of the GPU at the newest report of a job. kind: reserved (by the child), used (by all), total.",
    ("service", "device", "kind"),
)


def registry_of(service: str) -> CollectorRegistry:
    """Return a registry with the samples of one service. Further collectors of that service can be added to it."""
    registry = CollectorRegistry()
    registry.register(_Own(service))
    return registry


def count_growth(counter: Counter, service: str) -> Callable[[float], None]:
    """Return a function to call with each new value of a figure. It adds the growth of the figure to the counter."""
    child, before = counter.labels(service), 0.0

    def count(figure: float) -> None:
        nonlocal before
        newest = max(before, figure)
        child.inc(newest - before)
        before = newest

    return count


class _Own(Collector):
    """The metrics of this process without the samples of other services."""

    def __init__(self, service: str) -> None:
        self._service = service

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics. Those of the process itself have no label `service`, and every service shows them."""
        for metric in REGISTRY.collect():
            own = copy(metric)
            own.samples = [
                sample for sample in metric.samples if sample.labels.get("service", self._service) == self._service
            ]
            yield own
