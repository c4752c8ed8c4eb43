"""A plan on the services that the settings name, against its floor: the same computation without any service.

Both are measured in the same run, one after the other, so that each has the machine to itself.
"""

import statistics
import tempfile
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.calls import run_in_child
from bench.machine import await_quiet, machine_facts
from services.cli.client import Services, get, is_ready, named_services, post
from services.cli.demo import DEMO_PLAN
from services.cli.plans import follow_plan
from services.cli.progress import STAGES
from services.common.errors import Unavailable
from services.common.identity import new_id
from services.common.records import now
from services.common.settings import Shared
from services.common.work.runner import JobRunner
from services.patch_rendering.settings import RenderingSettings
from services.training.settings import TrainingSettings

TARGET = 0.05

FULL: dict[str, Any] = DEMO_PLAN | {"study": {"title": "Bench"}}
QUICK: dict[str, Any] = {
    "network": {"train": {"architecture": "test_resnet", "weights": "none", "image_size": 64, "epochs": 2}},
    "extraction": {"split": "val", "layers": ["layer3", "layer4"], "top_k": 32},
    "study": {"title": "Bench (quick)"},
}


def bench_plan(request: dict[str, Any], runs: int, dataset_id: str = "") -> dict[str, Any]:
    """The figures of `runs` pairs of floor and plan; docs/bench.md says what each means. A data set that is given is
    taken, else the sample is built. Unavailable when a service does not answer."""
    services, shared = require_services(), Shared()
    request = request | {"dataset": {"dataset_id": dataset_id}}
    dataset = get(services.training, f"/v1/datasets/{dataset_id}")["manifest"] if dataset_id else None
    machine = machine_facts()
    pairs, busy = [], []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        runner = JobRunner("bench-floor", shared.log_format, shared.log_level)
        try:
            machine |= run_in_child(runner, "bench.floor:warm_up", {"device": shared.device})
            for number in range(runs):
                busy.append(await_quiet())
                floor = measure_floor(runner, Path(folder), number, request, dataset, shared)
                busy.append(await_quiet())
                pairs.append((floor, measure_plan(services, request)))
        finally:
            runner.close()
    machine["busy_before"] = busy
    return {"bench": "plan", "plan": request, "runs": runs} | summarise(pairs) | {"machine": machine}


def require_services() -> Services:
    """Return the services that the settings name. Unavailable if one of them does not answer."""
    services = named_services()
    missing = [base for base in services.all() if not is_ready(base)]
    if missing:
        raise Unavailable(f"no service answers at {', '.join(missing)}; `make up` starts them")
    return services


def measure_floor(
    runner: JobRunner, folder: Path, number: int, request: dict[str, Any], dataset: Any, shared: Shared
) -> dict[str, Any]:
    """Seconds of each stage without services, and what they came to. Scratch files are kept between runs, as services
    keep theirs."""
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    arguments = {
        "folder": str(folder / f"floor-{number}"),
        "scratch": str(scratch),
        "request": request,
        "source": shared.blobs(),
        "dataset": dataset,
        "group_units": RenderingSettings().group_units,
        "cache_mb": TrainingSettings().cache_mb,
        "device": shared.device,
    }
    return run_in_child(runner, "bench.floor:compute_plan", arguments)


def measure_plan(services: Services, request: dict[str, Any]) -> dict[str, Any]:
    """Measure the seconds from the call that starts a plan until its study is seen to be open. Return them with the
    seconds of each stage and the gap before it, both from its record, and the results."""
    plan_id = new_id("bench")
    moment, begin = now(), time.monotonic()
    post(services.training, "/v1/plans", {"plan_id": plan_id} | request)
    stages = follow_plan(services, plan_id)
    wall_s = time.monotonic() - begin
    run = get(services.training, f"/v1/runs/{stages['training']['id']}")
    rendering = get(services.patch_rendering, f"/v1/renderings/{stages['rendering']['id']}")
    layers = get(services.activation_extraction, f"/v1/extractions/{stages['extraction']['id']}")["results"]
    return {
        "wall_s": wall_s,
        "stages": place_stages(moment, stages),
        "results": {
            "val_loss": [epoch["val_loss"] for epoch in run["epochs"]],
            "pictures": rendering["pictures"],
            "units": sum(layer["units"] for layer in layers),
        },
    }


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


def summarise(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    """Return medians over pairs of floor and plan: the overhead, and the figures of each stage that explain it."""
    compute = [sum(floor["seconds"].values()) for floor, _ in pairs]
    wall = [plan["wall_s"] for _, plan in pairs]
    compute_s, wall_s = statistics.median(compute), statistics.median(wall)
    stages = {
        name: {
            "compute_s": _median(floor["seconds"].get(name, 0.0) for floor, _ in pairs),
            "wall_s": _median(plan["stages"][name]["wall_s"] for _, plan in pairs),
            "gap_s": _median(plan["stages"][name]["gap_s"] for _, plan in pairs),
        }
        for name in pairs[0][1]["stages"]
    }
    unseen = (plan["wall_s"] - sum(sum(one.values()) for one in plan["stages"].values()) for _, plan in pairs)
    return {
        "compute_s": round(compute_s, 3),
        "wall_s": round(wall_s, 3),
        "overhead": round((wall_s - compute_s) / compute_s, 4),
        "target": TARGET,
        "stages": stages,
        "seen_s": _median(unseen),
        "overheads": [round((b - a) / a, 4) for a, b in zip(compute, wall, strict=True)],
        "same_results": all(floor["results"] == plan["results"] for floor, plan in pairs),
        "results": pairs[-1][1]["results"],
    }


def _median(values: Iterable[float]) -> float:
    return round(float(statistics.median(values)), 3)
