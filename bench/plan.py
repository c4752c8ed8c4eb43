"""A plan on the services that the settings name, against its floor: the same computation without any service.

Both are measured in the same run, one after the other, so that each has the machine to itself.
"""

import statistics
import tempfile
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.machine import await_quiet, machine_facts
from bench.specs import COMPUTE_PLAN, WARM_UP, PlanFloor, PlanResults, PlanSpec, WarmUpSpec
from services.cli.client import Services, get, is_ready, named_services, post
from services.cli.demo import DEMO_PLAN
from services.cli.plan_reader import follow_plan
from services.cli.progress import STAGES
from services.common.blobs import ObjectRef
from services.common.errors import Unavailable
from services.common.identity import new_id
from services.common.records import now
from services.common.settings import Shared
from services.common.work.runner import JobRunner
from services.patch_rendering.settings import RenderingSettings
from services.training.schemas import StartPlanRequest
from services.training.settings import TrainingSettings

TARGET = 0.05

FULL: dict[str, Any] = DEMO_PLAN | {"study": {"title": "Bench"}}
QUICK: dict[str, Any] = {
    "network": {"train": {"architecture": "test_resnet", "weights": "none", "image_size": 64, "epochs": 2}},
    "extraction": {"split": "val", "layers": ["layer3", "layer4"], "top_k": 32},
    "study": {"title": "Bench (quick)"},
}


@dataclass(frozen=True)
class MeasuredPlan:
    """A plan on the services: its seconds, those of each stage (`wall_s`) and of the gap before it (`gap_s`), and its
    results."""

    wall_s: float
    stages: dict[str, dict[str, float]]
    results: PlanResults


def bench_plan(request: dict[str, Any], runs: int, dataset_id: str = "") -> dict[str, Any]:
    """Return the figures of `runs` pairs of floor and plan, which docs/bench.md explains. Without a data set the sample
    is built. Unavailable if a service does not answer."""
    services, shared = require_services(), Shared()
    request = request | {"dataset": {"dataset_id": dataset_id}}
    dataset = get(services.training, f"/v1/datasets/{dataset_id}")["manifest"] if dataset_id else None
    machine = machine_facts()
    pairs, busy = [], []
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        closing(JobRunner("bench-floor", shared.log_format, shared.log_level)) as runner,
    ):
        machine |= runner.run(WARM_UP, WarmUpSpec(device=shared.device)).model_dump()
        for number in range(runs):
            busy.append(await_quiet())
            floor = runner.run(COMPUTE_PLAN, floor_spec(Path(folder), number, request, dataset, shared))
            busy.append(await_quiet())
            pairs.append((floor, measure_plan(services, request)))
    machine["busy_before"] = busy
    return {"bench": "plan", "plan": request, "runs": runs} | summarise(pairs) | {"machine": machine}


def require_services() -> Services:
    """Return the services that the settings name. Unavailable if one of them does not answer."""
    services = named_services()
    missing = [base for base in services.all() if not is_ready(base)]
    if missing:
        raise Unavailable(f"no service answers at {', '.join(missing)}; `make up` starts them")
    return services


def end_measurement() -> None:
    """Raise Unavailable for a service that is away during a measurement: the figures would include its absence."""
    raise Unavailable("a service did not answer during the measurement")


def floor_spec(folder: Path, number: int, request: dict[str, Any], dataset: Any, shared: Shared) -> PlanSpec:
    """Return the spec of a floor. All runs share a folder of scratch files, because services keep theirs too."""
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    return PlanSpec(
        blobs_url=f"folder://{folder / f'floor-{number}'}",
        scratch=str(scratch),
        request=StartPlanRequest.model_validate(request),
        source=shared.blobs(),
        dataset=None if dataset is None else ObjectRef.model_validate(dataset),
        group_units=RenderingSettings().group_units,
        cache_mb=TrainingSettings().cache_mb,
        device=shared.device,
    )


def measure_plan(services: Services, request: dict[str, Any]) -> MeasuredPlan:
    """Measure a plan from the call that starts it until its study is open. The stages come from its record."""
    plan_id = new_id("bench")
    moment, begin = now(), time.monotonic()
    post(services.training, "/v1/plans", {"plan_id": plan_id} | request)
    stages = follow_plan(services, plan_id, end_measurement)
    wall_s = time.monotonic() - begin
    run = get(services.training, f"/v1/runs/{stages['training']['id']}")
    rendering = get(services.patch_rendering, f"/v1/renderings/{stages['rendering']['id']}")
    layers = get(services.activation_extraction, f"/v1/extractions/{stages['extraction']['id']}")["results"]
    results = PlanResults(
        val_loss=[epoch["val_loss"] for epoch in run["epochs"]],
        pictures=rendering["pictures"],
        units=sum(layer["units"] for layer in layers),
    )
    return MeasuredPlan(wall_s, place_stages(moment, stages), results)


def place_stages(moment: datetime, stages: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return by stage, in the order of a plan, its seconds and the gap since the stage before it ended. The first gap
    counts from `moment`."""
    placed = {}
    for name in (name for name in STAGES if name in stages):
        started, finished = (datetime.fromisoformat(stages[name][end]) for end in ("started", "finished"))
        placed[name] = {
            "wall_s": (finished - started).total_seconds(),
            "gap_s": (started - moment).total_seconds(),
        }
        moment = finished
    return placed


def summarise(pairs: list[tuple[PlanFloor, MeasuredPlan]]) -> dict[str, Any]:
    """Return medians over pairs of floor and plan: the overhead, and the figures of each stage that explain it."""
    compute = [sum(floor.seconds.values()) for floor, _ in pairs]
    wall = [plan.wall_s for _, plan in pairs]
    compute_s, wall_s = statistics.median(compute), statistics.median(wall)
    stages = {
        name: {
            "compute_s": _median(floor.seconds.get(name, 0.0) for floor, _ in pairs),
            "wall_s": _median(plan.stages[name]["wall_s"] for _, plan in pairs),
            "gap_s": _median(plan.stages[name]["gap_s"] for _, plan in pairs),
        }
        for name in pairs[0][1].stages
    }
    until_seen = (plan.wall_s - sum(sum(one.values()) for one in plan.stages.values()) for _, plan in pairs)
    return {
        "compute_s": round(compute_s, 3),
        "wall_s": round(wall_s, 3),
        "overhead": round((wall_s - compute_s) / compute_s, 4),
        "target": TARGET,
        "stages": stages,
        "seen_s": _median(until_seen),
        "overheads": [round((b - a) / a, 4) for a, b in zip(compute, wall, strict=True)],
        "same_results": all(floor.results == plan.results for floor, plan in pairs),
        "results": pairs[-1][1].results.model_dump(),
    }


def _median(values: Iterable[float]) -> float:
    return round(float(statistics.median(values)), 3)
