"""Extraction and its pictures, against floors (the least work that must be done) and the original's two passes.

Each contender has its own process, without services. Contenders that are compared directly take turns.
"""

import statistics
import tempfile
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.machine import await_quiet, machine_facts
from bench.specs import (
    BARE,
    FLOOR,
    OURS,
    PICTURES,
    STORE_NETWORK,
    TALLY,
    TWO_PASS,
    WARM_UP,
    FullPass,
    NetworkSpec,
    Pass,
    PassSpec,
    Pictures,
    PicturesSpec,
    TwoPass,
    TwoPassSpec,
    WarmUpSpec,
)
from bench.tissue import SPLIT, store_tissue, stored_manifest
from services.common.blobs import ObjectRef
from services.common.settings import Shared
from services.common.work.jobs import JobFunction, S, T
from services.common.work.runner import JobRunner

SIDE = 227
"""Side of the patches in pixels."""
GROWTH = 4
"""Memory is also measured at this many times the patches."""


@dataclass(frozen=True)
class Network:
    """A network and its extracted layers. Floor and extraction take turns for `rounds` rounds. The original's second
    pass is timed on `units_timed` units of each layer."""

    layers: tuple[str, ...]
    rounds: int
    units_timed: int
    targets: dict[str, float]

    def on_gpu(self, rounds: int) -> "Network":
        """Return the same layers for a GPU, where extraction is compared with the bare forward."""
        return Network(self.layers, rounds, 0, {"share_of_bare": 0.9})


@dataclass(frozen=True)
class Sizes:
    """The size of the bench. Shards have `shard_patches` patches, so a larger data set only has more of them. If
    `different` is set, only that number of patches is cut, and they are repeated."""

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


@dataclass(frozen=True)
class Place:
    """A folder with patches, their store and scratch files, on which jobs run. Each job runs in a new process, or all
    jobs run in that of `runner`."""

    folder: Path
    shared: Shared
    runner: JobRunner | None = None

    @property
    def blobs_url(self) -> str:
        """The store."""
        return f"folder://{self.folder / 'store'}"

    @property
    def scratch(self) -> str:
        """A folder for scratch files."""
        return str(self.folder / "scratch")

    def store_network(self, architecture: str) -> ObjectRef:
        """Store a checkpoint with random weights. Return the reference to its manifest."""
        return self.run(STORE_NETWORK, NetworkSpec(blobs_url=self.blobs_url, architecture=architecture))

    def pass_spec(self, checkpoint: ObjectRef, layers: tuple[str, ...], top_k: int) -> PassSpec:
        """Return the spec of a pass over all patches."""
        return PassSpec(
            blobs_url=self.blobs_url, scratch=self.scratch, extraction_id="bench", dataset=stored_manifest(self.folder),
            checkpoint=checkpoint, split=SPLIT, layers=list(layers), top_k=top_k, device=self.shared.device,
        )  # fmt: skip

    def run(self, job: JobFunction[S, T], spec: S) -> T:
        """Run a job in a child process with the environment of the services' jobs."""
        if self.runner is not None:
            return self.runner.run(job, spec)
        with closing(start_runner(self.shared)) as runner:
            return runner.run(job, spec)


def start_runner(shared: Shared) -> JobRunner:
    """Return a runner that logs as the settings require."""
    return JobRunner("bench", shared.log_format, shared.log_level)


def bench_extraction(sizes: Sizes, shared: Shared) -> dict[str, Any]:
    """Return the figures that docs/bench.md explains."""
    machine = machine_facts() | {"busy_before": [await_quiet()]}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        tissue = store_tissue(Path(folder) / "n", SIDE, sizes.patches, sizes.shard_patches)
        more = store_tissue(Path(folder) / "4n", SIDE, GROWTH * sizes.patches, sizes.shard_patches)
        machine |= Place(tissue, shared).run(WARM_UP, WarmUpSpec(device=shared.device)).model_dump()
        networks = {}
        for name, network in sizes.networks.items():
            machine["busy_before"].append(await_quiet())
            networks[name] = bench_network(name, network, Place(tissue, shared), Place(more, shared), sizes.top_k)
    return {
        "bench": "extraction",
        **networks,
        "patches": sizes.patches,
        "top_k": sizes.top_k,
        "memory_target": MEMORY_TARGET,
        "machine": machine,
    }


def bench_network(name: str, network: Network, place: Place, more: Place, top_k: int) -> dict[str, Any]:
    """Return the figures of one network."""
    checkpoint = place.store_network(name)
    spec = place.pass_spec(checkpoint, network.layers, top_k)
    floors, ours = [], []
    for _ in range(network.rounds):
        floors.append(place.run(FLOOR, spec))
        ours.append(place.run(OURS, spec))
    pictures_spec = PicturesSpec(
        blobs_url=place.blobs_url, scratch=place.scratch, extraction=ours[-1].manifest, size=SIDE
    )
    rendered = place.run(PICTURES, pictures_spec)
    two_pass_spec = TwoPassSpec(
        blobs_url=place.blobs_url, tissue=str(place.folder), checkpoint=checkpoint, layers=list(network.layers),
        top_k=top_k, units_timed=network.units_timed, folder=str(place.folder / "original"),
    )  # fmt: skip
    two_pass = place.run(TWO_PASS, two_pass_spec)
    grown = more.run(OURS, more.pass_spec(more.store_network(name), network.layers, top_k))
    figures = summarise(floors, ours, rendered, two_pass, grown)
    return figures | {"layers": list(network.layers), "rounds": network.rounds, "targets": network.targets}


def summarise(
    floors: list[Pass], ours: list[FullPass], rendered: Pictures, two_pass: TwoPass, grown: FullPass
) -> dict[str, Any]:
    """Return medians over the rounds. `over_floor` is taken within each round, whose two passes shared the machine."""
    floor_s, ours_s = (statistics.median(one.seconds for one in rounds) for rounds in (floors, ours))
    ratios = [mine.seconds / floor.seconds for floor, mine in zip(floors, ours, strict=True)]
    two_pass_s = two_pass.first_s + two_pass.second_s
    peak_n = max(one.peak_mb for one in ours)
    figures = {
        "floor_s": floor_s,
        "ours_s": ours_s,
        "merge_s": statistics.median(one.merge_s for one in ours),
        "pictures_s": rendered.seconds,
        "two_pass_s": two_pass_s,
        "first_pass_s": two_pass.first_s,
        "rss_mb_n": peak_n,
        "rss_mb_4n": grown.peak_mb,
        "rss_mb_floor": max(one.peak_mb for one in floors),
        "over_floor": statistics.median(ratios),
        "over_two_pass": two_pass_s / (ours_s + rendered.seconds),
        "memory_growth": grown.peak_mb / peak_n if peak_n else 0.0,
    }
    return {name: round(value, 3) for name, value in figures.items()} | {
        "over_floor_rounds": [round(ratio, 3) for ratio in ratios],
        "pictures": rendered.pictures,
        "two_pass_scaled": f"second pass timed on {two_pass.units_timed} of {two_pass.units} units, "
        "by layer, and scaled to all",
    }


def bench_on_gpu(sizes: Sizes, shared: Shared) -> dict[str, Any]:
    """Return the figures of a GPU, against the bare forward, as docs/bench.md explains."""
    machine = machine_facts() | {"busy_before": [await_quiet()]}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        tissue = store_tissue(Path(folder) / "n", SIDE, sizes.patches, sizes.shard_patches, sizes.different)
        # All in one process, because loading a GPU's libraries takes seconds.
        with closing(start_runner(shared)) as runner:
            place = Place(tissue, shared, runner)
            machine |= place.run(WARM_UP, WarmUpSpec(device=shared.device)).model_dump()
            networks = {name: _network_on_gpu(name, network, place, sizes) for name, network in sizes.networks.items()}
    return {"bench": "extraction", **networks, "patches": sizes.patches, "top_k": sizes.top_k, "machine": machine}


def _network_on_gpu(name: str, network: Network, place: Place, sizes: Sizes) -> dict[str, Any]:
    spec = place.pass_spec(place.store_network(name), network.layers, sizes.top_k)
    seconds: dict[str, list[float]] = {"bare": [], "floor": [], "keep": [], "jobs": [], "merge": []}
    for _ in range(network.rounds):
        seconds["bare"].append(place.run(BARE, spec).seconds)
        seconds["floor"].append(place.run(FLOOR, spec).seconds)
        seconds["keep"].append(place.run(TALLY, spec).seconds)
        ours = place.run(OURS, spec)
        seconds["jobs"].append(ours.seconds - ours.merge_s)
        seconds["merge"].append(ours.merge_s)
    return {f"{what}_s": round(statistics.median(rounds), 3) for what, rounds in seconds.items()} | {
        "share_of_bare": _share(seconds, "bare", "keep"),
        "share_of_floor": _share(seconds, "floor", "keep"),
        "jobs_share_of_bare": _share(seconds, "bare", "jobs"),
        "patches_s": round(sizes.patches / statistics.median(seconds["keep"])),
        "layers": list(network.layers),
        "rounds": network.rounds,
        "targets": network.targets,
    }


def _share(seconds: dict[str, list[float]], least: str, actual: str) -> float:
    """Return the median over the rounds of the share of the actual seconds that the least work needs."""
    ratios = [floor / ours for floor, ours in zip(seconds[least], seconds[actual], strict=True)]
    return round(statistics.median(ratios), 3)
