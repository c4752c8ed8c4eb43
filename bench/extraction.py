"""Extraction and its pictures against the least that must be done, and against the original's two passes.

Each contender has a process of its own, without services; those that are compared directly take turns.
"""

import statistics
import tempfile
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bench.calls import run_in_child
from bench.machine import await_quiet, machine_facts
from bench.tissue import REFERENCE, store_tissue
from services.common.blobs import ObjectRef
from services.common.settings import Shared
from services.common.work.runner import JobRunner

PASSES = "bench.passes"
SIDE = 227
"""Of the patches, in pixels."""
GROWTH = 4
"""Memory is measured at this many times the patches too."""


@dataclass(frozen=True)
class Network:
    """A network, the layers that are looked at, how often floor and extraction take turns, and how many units of each
    layer the second of the original's passes is timed on."""

    layers: tuple[str, ...]
    rounds: int
    units_timed: int
    targets: dict[str, float]

    def on_gpu(self, rounds: int) -> "Network":
        """The same layers on a GPU, where the measure is the bare forward."""
        return Network(self.layers, rounds, 0, {"share_of_bare": 0.9})


@dataclass(frozen=True)
class Sizes:
    """How much is measured. Data sets have shards of `shard_patches`, so that the larger only has more of them; where
    so many patches are `different`, they come again and again."""

    patches: int
    shard_patches: int
    top_k: int
    different: int = 0
    networks: dict[str, Network] = field(default_factory=dict)


ALEXNET = Network(("conv1", "conv2", "conv3", "conv4", "conv5"), 3, 2, {"over_floor": 1.15, "over_two_pass": 15.0})
RESNET50 = Network(("layer4",), 1, 2, {"over_floor": 1.05})
FULL = Sizes(2048, 2048, 64, networks={"alexnet": ALEXNET, "resnet50": RESNET50})
QUICK = Sizes(128, 128, 16, networks={"alexnet": Network(ALEXNET.layers, 1, 1, ALEXNET.targets)})
GPU_FULL = Sizes(16384, 4096, 64, 4096, {"alexnet": ALEXNET.on_gpu(3), "resnet50": RESNET50.on_gpu(3)})
GPU_QUICK = Sizes(4096, 4096, 64, 1024, {"resnet50": RESNET50.on_gpu(1)})
MEMORY_TARGET = 1.05


def bench_extraction(sizes: Sizes, shared: Shared) -> dict[str, Any]:
    """The figures; docs/bench.md says what each means."""
    machine = machine_facts() | {"busy_before": [await_quiet()]}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        tissue = store_tissue(Path(folder) / "n", SIDE, sizes.patches, sizes.shard_patches)
        more = store_tissue(Path(folder) / "4n", SIDE, GROWTH * sizes.patches, sizes.shard_patches)
        machine |= Place(tissue, shared).run("bench.floor:warm_up", device=shared.device)
        networks = {}
        for name, network in sizes.networks.items():
            machine["busy_before"].append(await_quiet())
            networks[name] = bench_network(name, network, Place(tissue, shared), Place(more, shared), sizes)
    return {
        "bench": "extraction",
        **networks,
        "patches": sizes.patches,
        "top_k": sizes.top_k,
        "memory_target": MEMORY_TARGET,
        "machine": machine,
    }


def bench_network(name: str, network: Network, place: "Place", more: "Place", sizes: Sizes) -> dict[str, Any]:
    """The figures of one network."""
    layers, top_k = list(network.layers), sizes.top_k
    checkpoint = place.run(f"{PASSES}:store_network", blobs_url=place.blobs_url, architecture=name)
    common = {"checkpoint": checkpoint, "device": place.shared.device}
    floors, ours = [], []
    for _ in range(network.rounds):
        floors.append(place.run_pass("floor", **common))
        ours.append(place.run_pass("ours", scratch=place.scratch, layers=layers, top_k=top_k, **common))
    render = partial(place.run, f"{PASSES}:pictures", blobs_url=place.blobs_url, scratch=place.scratch, size=SIDE)
    rendered = render(extraction=ours[-1]["manifest"])
    two_pass = place.run(
        f"{PASSES}:two_pass",
        blobs_url=place.blobs_url,
        tissue=str(place.folder),
        checkpoint=checkpoint,
        layers=layers,
        top_k=top_k,
        units_timed=network.units_timed,
        folder=str(place.folder / "original"),
    )
    larger = common | {"checkpoint": more.run(f"{PASSES}:store_network", blobs_url=more.blobs_url, architecture=name)}
    grown = more.run_pass("ours", scratch=more.scratch, layers=layers, top_k=top_k, **larger)
    figures = summarise(floors, ours, rendered, two_pass, grown)
    return figures | {"layers": layers, "rounds": network.rounds, "targets": network.targets}


def bench_on_gpu(sizes: Sizes, shared: Shared) -> dict[str, Any]:
    """The figures of a GPU, by the bare forward; docs/bench.md says what each means."""
    machine = machine_facts() | {"busy_before": [await_quiet()]}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        tissue = store_tissue(Path(folder) / "n", SIDE, sizes.patches, sizes.shard_patches, sizes.different)
        # One process: what a GPU's libraries load at first takes seconds.
        with closing(_runner(shared)) as runner:
            place = Place(tissue, shared, runner)
            machine |= place.run("bench.floor:warm_up", device=shared.device)
            networks = {name: _network_on_gpu(name, network, place, sizes) for name, network in sizes.networks.items()}
    return {"bench": "extraction", **networks, "patches": sizes.patches, "top_k": sizes.top_k, "machine": machine}


def _network_on_gpu(name: str, network: Network, place: "Place", sizes: Sizes) -> dict[str, Any]:
    checkpoint = place.run(f"{PASSES}:store_network", blobs_url=place.blobs_url, architecture=name)
    common = {"checkpoint": checkpoint, "device": place.shared.device}
    kept = common | {"layers": list(network.layers), "top_k": sizes.top_k}
    seconds: dict[str, list[float]] = {"bare": [], "floor": [], "keep": [], "jobs": [], "merge": []}
    for _ in range(network.rounds):
        seconds["bare"].append(place.run_pass("bare", **common)["seconds"])
        seconds["floor"].append(place.run_pass("floor", **common)["seconds"])
        seconds["keep"].append(place.run_pass("keep", **kept)["seconds"])
        ours = place.run_pass("ours", scratch=place.scratch, **kept)
        seconds["jobs"].append(ours["seconds"] - ours["merge_s"])
        seconds["merge"].append(ours["merge_s"])
    return {f"{what}_s": round(statistics.median(rounds), 3) for what, rounds in seconds.items()} | {
        "share_of_bare": _share(seconds, "bare", "keep"),
        "share_of_floor": _share(seconds, "floor", "keep"),
        "jobs_share_of_bare": _share(seconds, "bare", "jobs"),
        "patches_s": round(sizes.patches / statistics.median(seconds["keep"])),
        "layers": list(network.layers),
        "rounds": network.rounds,
        "targets": network.targets,
    }


def _share(seconds: dict[str, list[float]], least: str, taken: str) -> float:
    """The median over the rounds of how much of what is taken must be."""
    ratios = [must / did for must, did in zip(seconds[least], seconds[taken], strict=True)]
    return round(statistics.median(ratios), 3)


def summarise(
    floors: list[dict[str, Any]],
    ours: list[dict[str, Any]],
    rendered: dict[str, Any],
    two_pass: dict[str, Any],
    grown: dict[str, Any],
) -> dict[str, Any]:
    """Medians over the rounds; `over_floor` is that of each round, since its two had the same machine."""
    floor_s, ours_s = (statistics.median(one["seconds"] for one in rounds) for rounds in (floors, ours))
    ratios = [mine["seconds"] / floor["seconds"] for floor, mine in zip(floors, ours, strict=True)]
    two_pass_s = two_pass["first_s"] + two_pass["second_s"]
    peak_n, peak_4n = (max(one["peak_mb"] for one in rounds) for rounds in (ours, [grown]))
    figures = {
        "floor_s": floor_s,
        "ours_s": ours_s,
        "merge_s": statistics.median(one["merge_s"] for one in ours),
        "pictures_s": rendered["seconds"],
        "two_pass_s": two_pass_s,
        "first_pass_s": two_pass["first_s"],
        "rss_mb_n": peak_n,
        "rss_mb_4n": peak_4n,
        "rss_mb_floor": max(one["peak_mb"] for one in floors),
        "over_floor": statistics.median(ratios),
        "over_two_pass": two_pass_s / (ours_s + rendered["seconds"]),
        "memory_growth": peak_4n / peak_n if peak_n else 0.0,
    }
    return {name: round(value, 3) for name, value in figures.items()} | {
        "over_floor_rounds": [round(ratio, 3) for ratio in ratios],
        "pictures": rendered["pictures"],
        "two_pass_scaled": f"second pass timed on {two_pass['units_timed']} of {two_pass['units']} units, "
        "by layer, and scaled to all",
    }


@dataclass(frozen=True)
class Place:
    """A folder with patches, their store and scratch files; what is run on them."""

    folder: Path
    shared: Shared
    runner: JobRunner | None = None
    """The process that all is run in; without one each function has its own."""

    @property
    def blobs_url(self) -> str:
        """The store."""
        return f"folder://{self.folder / 'store'}"

    @property
    def scratch(self) -> str:
        """A folder for scratch files."""
        return str(self.folder / "scratch")

    @property
    def dataset(self) -> ObjectRef:
        """The manifest of the patches."""
        return ObjectRef.model_validate_json((self.folder / REFERENCE).read_text())

    def run_pass(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Run a function of passes.py on all patches."""
        return self.run(f"{PASSES}:{name}", blobs_url=self.blobs_url, dataset=self.dataset.model_dump(), **arguments)

    def run(self, target: str, **arguments: Any) -> dict[str, Any]:
        """The result of a function in a process with the surroundings of the services' jobs."""
        runner = self.runner or _runner(self.shared)
        try:
            found = run_in_child(runner, target, arguments)
        finally:
            if runner is not self.runner:
                runner.close()
        return found


def _runner(shared: Shared) -> JobRunner:
    return JobRunner("bench", shared.log_format, shared.log_level)
