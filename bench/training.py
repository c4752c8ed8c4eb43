"""Images per second of the training service's loop, against the bare steps and against a plain loop.

All contenders take turns in every round, so that other work on the machine affects them equally.
"""

import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.contenders import PLAIN_WORKERS, Epoch, bare_steps, our_loop, our_loop_cached, plain_loop
from bench.loading import measure_loading
from bench.machine import await_quiet, device_facts, machine_facts
from bench.tissue import open_tissue, store_tissue
from bench.turns import Build, take_turns
from services.common.settings import Shared
from services.imaging.devices import choose_device
from services.imaging.preprocessing import Preprocessing
from services.training.batches import Batches, Batching
from services.training.schemas import RunSettings
from services.training.settings import TrainingSettings

NETWORKS = ("alexnet", "resnet18")
NETWORK_SIDE = 227
CONTENDERS: dict[str, Build] = {
    "ours": our_loop,
    "ours_cached": our_loop_cached,
    "floor": bare_steps,
    "plain": plain_loop,
}
TARGETS = {
    "cpu": {"over_floor": 0.95, "over_plain": 1.3},
    "cuda": {"over_floor": 0.9, "over_plain": 2.0},
}
LOADING_TARGET = 3000


@dataclass(frozen=True)
class Sizes:
    """The size of the bench: rounds of one epoch of `steps` steps on patches of `side` pixels; and for loading `epochs`
    epochs of `patches` patches of each of `loading_sides`. `image_size` of 0 is a network's own."""

    side: int
    steps: int
    rounds: int
    loading_sides: tuple[int, ...]
    patches: int
    epochs: int
    batch_size: int = 32
    image_size: int = 0


FULL = {
    "cpu": Sizes(side=320, steps=4, rounds=3, loading_sides=(227, 320, 512), patches=1024, epochs=20),
    "cuda": Sizes(side=320, steps=128, rounds=7, loading_sides=(227, 320, 512), patches=4096, epochs=20),
}
QUICK = {
    "cpu": Sizes(side=320, steps=2, rounds=1, loading_sides=(227, 320), patches=256, epochs=5),
    "cuda": Sizes(side=320, steps=32, rounds=3, loading_sides=(227, 320), patches=1024, epochs=5),
}


def bench_training(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """Return the figures that docs/bench.md explains."""
    machine = machine_facts() | device_facts(device).model_dump() | {"busy_before": [await_quiet()]}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        loading = {
            str(side): bench_loading(store_tissue(Path(folder) / f"loading-{side}", side, sizes.patches), sizes)
            for side in sizes.loading_sides
        }
        patches = store_tissue(Path(folder) / "training", sizes.side, sizes.steps * sizes.batch_size)
        networks = {}
        for name in NETWORKS:
            machine["busy_before"].append(await_quiet())
            networks[name] = bench_network(Epoch(run_settings(name, sizes), patches, device), sizes.rounds)
    return {
        "bench": "training",
        **networks,
        "targets": TARGETS[device.type],
        "rounds": sizes.rounds,
        "steps_a_round": sizes.steps,
        "batch_size": sizes.batch_size,
        "patch_side": sizes.side,
        "plain_workers": PLAIN_WORKERS,
        "loading": loading | {"target": LOADING_TARGET},
        "machine": machine,
    }


def run_settings(network: str, sizes: Sizes) -> RunSettings:
    """Return settings like those of the original's runs: SGD, no flips."""
    return RunSettings(
        architecture=network,
        weights="none",
        image_size=sizes.image_size,
        batch_size=sizes.batch_size,
        optimizer="sgd",
        learning_rate=1e-4,
        weight_decay=1e-4,
        schedule="step",
        warmup_steps=0,
        flips=False,
    )


def bench_loading(folder: Path, sizes: Sizes) -> dict[str, Any]:
    """Measure how fast the patches below a folder are loaded and resized for the networks."""
    patches, preprocessing = open_tissue(folder), Preprocessing(size=sizes.image_size or NETWORK_SIDE)
    without_cache, with_cache = (
        Batches(patches.dataset, patches.local, preprocessing, Batching(sizes.batch_size, cache_bytes=cache_mb << 20))
        for cache_mb in (0, TrainingSettings().cache_mb)
    )
    return measure_loading(without_cache, with_cache, len(patches.files), sizes.epochs)


def bench_network(epoch: Epoch, rounds: int) -> dict[str, Any]:
    """Measure images per second of each contender."""
    return summarise_rounds(take_turns(CONTENDERS, epoch, len(epoch.patches.files), rounds))


def summarise_rounds(rates: Mapping[str, list[float]]) -> dict[str, Any]:
    """Return medians over the rounds. Ratios are taken within each round, whose contenders shared the machine."""
    ratios = {
        "over_floor": [ours / floor for ours, floor in zip(rates["ours"], rates["floor"], strict=True)],
        "over_plain": [ours / plain for ours, plain in zip(rates["ours"], rates["plain"], strict=True)],
    }
    return {
        **{name: round(statistics.median(values), 2) for name, values in rates.items()},
        **{name: round(statistics.median(values), 3) for name, values in ratios.items()},
        "ranges": {
            name: [round(min(values), 3), round(max(values), 3)] for name, values in (dict(rates) | ratios).items()
        },
    }


def chosen_device() -> torch.device:
    """Return the device that the settings name."""
    return choose_device(Shared().device)
