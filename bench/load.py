"""Concurrent clients of all four services, over HTTP and over gRPC, with the calls that pages and programs make most.

All calls read the results of one small plan that the bench runs first. A client is a thread that sends its next call
when it has the answer to the last one. All clients share one process, which uses a part of the machine.
"""

import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx
import numpy as np
from primitives.activation_extraction.v1 import activation_extraction_pb2 as extraction_pb
from primitives.activation_extraction.v1 import activation_extraction_pb2_grpc as extraction_grpc
from primitives.annotation.v1 import annotation_pb2, annotation_pb2_grpc
from primitives.patch_rendering.v1 import patch_rendering_pb2 as rendering_pb
from primitives.patch_rendering.v1 import patch_rendering_pb2_grpc as rendering_grpc
from primitives.training.v1 import training_pb2, training_pb2_grpc

from bench.machine import await_quiet, machine_facts
from bench.plan import QUICK as SMALL_PLAN
from bench.plan import end_measurement, require_services
from services.activation_extraction.settings import ExtractionSettings
from services.annotation.settings import AnnotationSettings
from services.cli.client import Services, get, post
from services.cli.plan_reader import follow_plan
from services.common.access.credentials import bearer
from services.common.errors import InvalidInput, Unavailable
from services.common.identity import new_id
from services.common.settings import Shared
from services.patch_rendering.settings import RenderingSettings
from services.training.settings import TrainingSettings

READER = "Bench"
CALL_LIMIT_S = 30.0
START_LIMIT_S = 120.0
"""Time limit for all clients to open their connections."""
SHOWN_ERRORS = 5

Call = Callable[[], object]
Surface = Callable[[], AbstractContextManager[dict[str, Call]]]
"""Opens the connections of one client; yields its calls by name."""


@dataclass(frozen=True)
class Sizes:
    """The number of concurrent clients, and the seconds of measuring over each of HTTP and gRPC."""

    clients: int
    seconds: float


FULL = Sizes(clients=32, seconds=30.0)
QUICK = Sizes(clients=8, seconds=3.0)


@dataclass(frozen=True)
class Target:
    """What the calls read: the ids of one plan's results, and a layer of its extraction."""

    run_id: str
    extraction_id: str
    layer: str
    rendering_id: str
    study_id: str


@dataclass
class Answers:
    """Seconds of each call by its name, and the errors."""

    seconds: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def bench_load(sizes: Sizes) -> dict[str, Any]:
    """Return the figures that docs/bench.md explains. Unavailable if a service does not answer."""
    services, shared = require_services(), Shared()
    if shared.tls_certificate is not None:
        raise InvalidInput("PRIMITIVES_TLS_CERTIFICATE is set; this bench opens only plain connections")
    machine = machine_facts()
    target = prepare(services)
    headers = bearer(shared.token) | {"x-reader": READER}
    surfaces: dict[str, Surface] = {
        "http": lambda: over_http(services, target, headers),
        "grpc": lambda: over_grpc(target, headers),
    }
    figures = {}
    for name, surface in surfaces.items():
        machine.setdefault("busy_before", []).append(await_quiet())
        figures[name] = measure(surface, sizes)
    return {"bench": "load", "clients": sizes.clients} | figures | {"machine": machine}


def prepare(services: Services) -> Target:
    """Run a small plan to its end."""
    plan_id = new_id("bench")
    post(services.training, "/v1/plans", {"plan_id": plan_id} | SMALL_PLAN)
    ids = {name: stage["id"] for name, stage in follow_plan(services, plan_id, end_measurement).items()}
    layer = get(services.activation_extraction, f"/v1/extractions/{ids['extraction']}")["results"][0]["name"]
    return Target(ids["training"], ids["extraction"], layer, ids["rendering"], ids["study"])


@contextmanager
def over_http(services: Services, target: Target, headers: dict[str, str]) -> Iterator[dict[str, Call]]:
    """Yield the calls of one client, which keeps its connections open."""
    layer = f"{services.activation_extraction}/v1/extractions/{target.extraction_id}/layers/{target.layer}"
    addresses = {
        "run": f"{services.training}/v1/runs/{target.run_id}",
        "runs": f"{services.training}/v1/runs",
        "units": f"{layer}/units?limit=50",
        "unit": f"{layer}/units/0",
        "rendering": f"{services.patch_rendering}/v1/renderings/{target.rendering_id}",
        "study": f"{services.annotation}/v1/studies/{target.study_id}",
    }
    with httpx.Client(headers=headers, timeout=CALL_LIMIT_S) as client:

        def call(address: str) -> Call:
            return lambda: client.get(address).raise_for_status()

        yield {name: call(address) for name, address in addresses.items()}


@contextmanager
def over_grpc(target: Target, headers: dict[str, str]) -> Iterator[dict[str, Call]]:
    """Yield the same calls of one client, with a channel to each service."""
    host, metadata = Shared().host, tuple(headers.items())
    settings = (TrainingSettings(), ExtractionSettings(), RenderingSettings(), AnnotationSettings())
    own = [("grpc.use_local_subchannel_pool", 1)]  # else all clients would share one connection
    with ExitStack() as stack:
        training, extraction, rendering, annotation = (
            stack.enter_context(grpc.insecure_channel(f"{host}:{one.grpc_port}", own)) for one in settings
        )
        runs = training_pb2_grpc.TrainingServiceStub(training)
        units = extraction_grpc.ActivationExtractionServiceStub(extraction)
        pictures = rendering_grpc.PatchRenderingServiceStub(rendering)
        studies = annotation_pb2_grpc.AnnotationServiceStub(annotation)
        page = extraction_pb.ListUnitsRequest(extraction_id=target.extraction_id, layer=target.layer, limit=50)
        first = extraction_pb.GetUnitRequest(extraction_id=target.extraction_id, layer=target.layer, unit=0)
        rendered = rendering_pb.GetRenderingRequest(rendering_id=target.rendering_id)

        def call(method: Any, request: Any) -> Call:
            return lambda: method(request, timeout=CALL_LIMIT_S, metadata=metadata)

        yield {
            "run": call(runs.GetRun, training_pb2.GetRunRequest(run_id=target.run_id)),
            "runs": call(runs.ListRuns, training_pb2.ListRunsRequest()),
            "units": call(units.ListUnits, page),
            "unit": call(units.GetUnit, first),
            "rendering": call(pictures.GetRendering, rendered),
            "study": call(studies.GetStudy, annotation_pb2.GetStudyRequest(study_id=target.study_id)),
        }


def measure(surface: Surface, sizes: Sizes) -> dict[str, Any]:
    """Return the figures of clients that call over one surface until the time is over. Current calls are completed."""
    answers, begun = Answers(), threading.Barrier(sizes.clients + 1, timeout=START_LIMIT_S)
    with ThreadPoolExecutor(sizes.clients, "client") as pool:
        clients = [
            pool.submit(_run_client, surface, number, sizes.seconds, begun, answers) for number in range(sizes.clients)
        ]
        late = False
        try:
            begun.wait()
        except threading.BrokenBarrierError:
            late = True
        begin = time.perf_counter()
        for client in clients:
            client.result()
    if late:
        raise Unavailable(f"not all {sizes.clients} clients made their first calls within {START_LIMIT_S:.0f} s")
    return summarise(answers, time.perf_counter() - begin)


def summarise(answers: Answers, seconds: float) -> dict[str, Any]:
    """Return calls per second, percentiles in milliseconds of all calls and of each kind, and errors."""
    every = [one for times in answers.seconds.values() for one in times]
    return {
        "per_second": round(len(every) / seconds, 1),
        "calls": len(every),
        "seconds": round(seconds, 1),
        "errors": len(answers.errors),
        "told": answers.errors[:SHOWN_ERRORS],
        "ms": _percentiles(every),
        "by_call": {name: _percentiles(times) for name, times in sorted(answers.seconds.items())},
    }


def _percentiles(times: Sequence[float]) -> dict[str, float]:
    if not times:
        return {}
    return {
        name: round(1000 * float(value), 1)
        for name, value in zip(("p50", "p99", "max"), np.percentile(times, (50, 99, 100)), strict=True)
    }


def _run_client(surface: Surface, number: int, seconds: float, begun: threading.Barrier, answers: Answers) -> None:
    """Make each call once, uncounted; then make all calls in turn. Each client starts with another call."""
    try:
        with surface() as calls:
            for name, call in calls.items():
                _timed(name, call, Answers())
            begun.wait()
            _call_in_turn(calls, number, time.perf_counter() + seconds, answers)
    except threading.BrokenBarrierError:
        return  # the client that broke it raises the reason
    except BaseException:
        begun.abort()
        raise


def _call_in_turn(calls: dict[str, Call], first: int, deadline: float, answers: Answers) -> None:
    names = list(calls)
    for position in itertools.count(first):
        if time.perf_counter() >= deadline:
            return
        name = names[position % len(names)]
        _timed(name, calls[name], answers)


def _timed(name: str, call: Call, answers: Answers) -> None:
    begin = time.perf_counter()
    try:
        call()
    except (httpx.HTTPError, grpc.RpcError) as error:
        with answers.lock:
            answers.errors.append(f"{name}: {error}")
        return
    with answers.lock:
        answers.seconds[name].append(time.perf_counter() - begin)
