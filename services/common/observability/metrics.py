"""What Prometheus is told of a process.

Every metric of ours has the label `service`, since the four may share one process; what a service shows at /metrics is
its own (`registry_of`). The other labels have few values by construction: templates of routes, names of methods,
queues, types of messages and functions, never ids. None is one that a scrape sets (`job`, `instance`): Prometheus would
rename ours. docs/observability.md lists them all.
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
    "Seconds from a request to the beginning of its answer.",
    ("service", "method", "route", "code"),
    buckets=CALL_BUCKETS_S,
)
GRPC_REQUESTS = Histogram(
    "primitives_grpc_request_duration_seconds",
    "Seconds of a gRPC call; a Watch lasts as long as what is watched.",
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
    "primitives_job_reports_total", "Reports of progress from children: signs of life.", ("service", "function")
)
PATCHES_EXTRACTED = Counter("primitives_patches_extracted_total", "Patches seen by a network.", ("service",))
IMAGES_TRAINED = Counter("primitives_images_trained_total", "Images in steps of an optimizer.", ("service",))
PICTURES_RENDERED = Counter("primitives_pictures_rendered_total", "Pictures of units drawn.", ("service",))
GPU_MEMORY = Gauge(
    "primitives_gpu_memory_bytes",
    "Memory of the GPU at the newest report of a job. kind: reserved (by the child), used (by all), total.",
    ("service", "device", "kind"),
)


def registry_of(service: str) -> CollectorRegistry:
    """What one service shows: its share of the metrics of this process, and what is registered with it beside them."""
    registry = CollectorRegistry()
    registry.register(_Own(service))
    return registry


def count_growth(counter: Counter, service: str) -> Callable[[float], None]:
    """Return a function that receives a figure again and again, and adds to the counter by how much it has grown."""
    child, before = counter.labels(service), 0.0

    def count(figure: float) -> None:
        nonlocal before
        newest = max(before, figure)
        child.inc(newest - before)
        before = newest

    return count


class _Own(Collector):
    """The metrics of this process without the samples of other services in it."""

    def __init__(self, service: str) -> None:
        self._service = service

    def collect(self) -> Iterable[Metric]:
        """Those of the process itself have no label `service`, and are everyone's."""
        for metric in REGISTRY.collect():
            own = copy(metric)
            own.samples = [one for one in metric.samples if one.labels.get("service", self._service) == self._service]
            yield own
