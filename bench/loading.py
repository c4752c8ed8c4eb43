"""Measures loading alone: patches per second read, decoded, resized and batched, and whether memory grows."""

import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.training.batches import Batches
from services.training.schemas import RunSettings

SETTLED_EPOCH = 3
"""Memory growth counts from the end of this epoch. Earlier epochs allocate what is allocated only once."""
STATM = Path("/proc/self/statm")


@dataclass(frozen=True)
class LoadedEpoch:
    """Patches per second of one epoch, and the memory of this process after it."""

    per_s: float
    resident_mb: float


def measure_loading(without_cache: Batches, with_cache: Batches, patches: int, epochs: int) -> dict[str, Any]:
    """Return the figures that docs/bench.md explains. `epochs` counts epochs without a cache; memory is theirs."""
    decoded = load_epochs(without_cache, patches, epochs)
    return summarise_loading(decoded, load_epochs(with_cache, patches, SETTLED_EPOCH))


def load_epochs(batches: Batches, patches: int, epochs: int) -> list[LoadedEpoch]:
    """Load epochs of `patches` patches as fast as possible and discard the batches."""
    settings, done = RunSettings(), []
    for epoch in range(epochs):
        begin = time.perf_counter()
        for _ in batches.shuffled(settings, epoch):
            pass
        done.append(LoadedEpoch(patches / (time.perf_counter() - begin), resident_mb()))
    return done


def summarise_loading(decoded: list[LoadedEpoch], cached: list[LoadedEpoch]) -> dict[str, Any]:
    """Return the first epoch's rate, medians of later epochs, and memory growth after the third."""
    return {
        "first_epoch": round(decoded[0].per_s),
        "later_epochs": round(statistics.median(epoch.per_s for epoch in decoded[1:])),
        "later_epochs_cached": round(statistics.median(epoch.per_s for epoch in cached[1:])),
        "epochs": len(decoded),
        "resident_mb": round(decoded[-1].resident_mb, 1),
        "growth_mb": round(decoded[-1].resident_mb - decoded[SETTLED_EPOCH - 1].resident_mb, 1),
    }


def resident_mb() -> float:
    """Return the resident memory of this process. 0 on systems other than Linux."""
    if not STATM.is_file():
        return 0.0
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
