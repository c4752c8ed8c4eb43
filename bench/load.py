"""Clients that ask all four services at once, over HTTP and over gRPC, for what pages and programs ask most.

Everything that is asked for only reads, of one small plan that the bench has run. A client is a thread that sends its
next call when it has the answer to the last; all of them share one process, which takes its part of the machine.
"""

import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
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
from services.activation_extraction.settings import ExtractionSettings
from services.annotation.settings import AnnotationSettings
from services.cli.client import Services, get, is_ready, post
from services.cli.demo import follow, named_services
from services.common.access.credentials import bearer
from services.common.errors import InvalidInput, Unavailable
from services.common.identity import new_id
from services.common.settings import Shared
from services.patch_rendering.settings import RenderingSettings
from services.training.settings import TrainingSettings

READER = "Bench"
CALL_LIMIT_S = 30.0
START_LIMIT_S = 120.0
"""Until all clients have made their connections."""
TOLD_ERRORS = 5

Call = Callable[[], object]


@dataclass(frozen=True)
class Sizes:
    """How many clients ask at once, and for how long over each of the two surfaces."""

    clients: int
    seconds: float


FULL = Sizes(clients=32, seconds=30.0)
QUICK = Sizes(clients=8, seconds=3.0)


@dataclass(frozen=True)
class LayerProperties:
    """What there is to ask for: ids of one plan's results, and a layer of its extraction."""

    run_id: str
    extraction_id: str
    layer: str
    rendering_id: str
    study_id: str


@dataclass
class Answers:
    """Seconds of each call by its name, and what went wrong."""

    seconds: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def bench_load(sizes: Sizes) -> dict[str, Any]:
    """The figures; docs/bench.md says what each means. Unavailable when a service does not answer."""
    services, shared = named_services(), Shared()
    missing = [base for base in services.all() if not is_ready(base)]
    if missing:
        raise Unavailable(f"no service answers at {', '.join(missing)}; `make up` starts them")
    if shared.tls_certificate is not None:
        raise InvalidInput("PRIMITIVES_TLS_CERTIFICATE is set; this bench asks over plain connections")
    machine = machine_facts()
    asked = prepare(services)
    headers = bearer(shared.token) | {"x-reader": READER}
    surfaces = {"http": lambda: over_http(services, asked, headers), "grpc": lambda: over_grpc(asked, headers)}
    figures = {}
    for name, surface in surfaces.items():
        machine.setdefault("busy_before", []).append(await_quiet())
        figures[name] = measure(surface, sizes)
    return {"bench": "load", "clients": sizes.clients} | figures | {"machine": machine}


def prepare(services: Services) -> LayerProperties:
    """Run a small plan to its end."""
    plan_id = new_id("bench")
    post(services.training, "/v1/plans", {"plan_id": plan_id} | SMALL_PLAN)
    ids = {name: stage["id"] for name, stage in follow(services, plan_id).items()}
    layer = get(services.activation_extraction, f"/v1/extractions/{ids['extraction']}")["results"][0]["name"]
    return LayerProperties(ids["training"], ids["extraction"], layer, ids["rendering"], ids["study"])


@contextmanager
def over_http(services: Services, asked: LayerProperties, headers: dict[str, str]) -> Iterator[dict[str, Call]]:
    """The calls of one client, with connections that it keeps."""
    layer = f"{services.activation_extraction}/v1/extractions/{asked.extraction_id}/layers/{asked.layer}"
    addresses = {
        "run": f"{services.training}/v1/runs/{asked.run_id}",
        "runs": f"{services.training}/v1/runs",
        "units": f"{layer}/units?limit=50",
        "unit": f"{layer}/units/0",
        "rendering": f"{services.patch_rendering}/v1/renderings/{asked.rendering_id}",
        "study": f"{services.annotation}/v1/studies/{asked.study_id}",
    }
    with httpx.Client(headers=headers, timeout=CALL_LIMIT_S) as client:

        def ask(address: str) -> Call:
            return lambda: client.get(address).raise_for_status()

        yield {name: ask(address) for name, address in addresses.items()}


@contextmanager
def over_grpc(asked: LayerProperties, headers: dict[str, str]) -> Iterator[dict[str, Call]]:
    """The same calls of one client, with a channel to each service."""
    host, shown = Shared().host, tuple(headers.items())
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
        some = extraction_pb.ListUnitsRequest(extraction_id=asked.extraction_id, layer=asked.layer, limit=50)
        first = extraction_pb.GetUnitRequest(extraction_id=asked.extraction_id, layer=asked.layer, unit=0)
        rendered = rendering_pb.GetRenderingRequest(rendering_id=asked.rendering_id)

        def ask(method: Any, request: Any) -> Call:
            return lambda: method(request, timeout=CALL_LIMIT_S, metadata=shown)

        yield {
            "run": ask(runs.GetRun, training_pb2.GetRunRequest(run_id=asked.run_id)),
            "runs": ask(runs.ListRuns, training_pb2.ListRunsRequest()),
            "units": ask(units.ListUnits, some),
            "unit": ask(units.GetUnit, first),
            "rendering": ask(pictures.GetRendering, rendered),
            "study": ask(studies.GetStudy, annotation_pb2.GetStudyRequest(study_id=asked.study_id)),
        }


def measure(surface: Callable[[], Any], sizes: Sizes) -> dict[str, Any]:
    """The figures of clients that ask over one surface until the time is over; a call in hand is waited for."""
    answers, begun = Answers(), threading.Barrier(sizes.clients + 1, timeout=START_LIMIT_S)
    with ThreadPoolExecutor(sizes.clients, "client") as pool:
        clients = [pool.submit(_ask, surface, number, sizes.seconds, begun, answers) for number in range(sizes.clients)]
        late = False
        try:
            begun.wait()
        except threading.BrokenBarrierError:
            late = True
        begin = time.perf_counter()
        for client in clients:
            client.result()
    if late:
        raise Unavailable(f"not all of {sizes.clients} clients had made their first calls within {START_LIMIT_S:.0f} s")
    return summarise(answers, time.perf_counter() - begin)


def summarise(answers: Answers, seconds: float) -> dict[str, Any]:
    """Calls a second, milliseconds of all calls and of each kind, and what went wrong."""
    every = [one for times in answers.seconds.values() for one in times]
    return {
        "per_second": round(len(every) / seconds, 1),
        "calls": len(every),
        "seconds": round(seconds, 1),
        "errors": len(answers.errors),
        "told": answers.errors[:TOLD_ERRORS],
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


def _ask(surface: Callable[[], Any], number: int, seconds: float, begun: threading.Barrier, answers: Answers) -> None:
    """One client: each call once that does not count, then all in turn, beginning with another than its neighbours."""
    try:
        with surface() as calls:
            for name, call in calls.items():
                _timed(name, call, Answers())
            begun.wait()
            _ask_in_turn(calls, number, time.perf_counter() + seconds, answers)
    except threading.BrokenBarrierError:
        return  # whoever broke it says why
    except BaseException:
        begun.abort()
        raise


def _ask_in_turn(calls: dict[str, Call], first: int, deadline: float, answers: Answers) -> None:
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
