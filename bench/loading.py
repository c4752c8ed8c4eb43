"""Reading, decoding, resizing and batching patches, with no network behind it: how fast, and whether memory grows."""

import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.training.batches import Batches
from services.training.schemas import RunSettings

SETTLED_EPOCH = 3
"""Growth of memory counts from the end of this epoch on: before, what is made once is made."""
STATM = Path("/proc/self/statm")


@dataclass(frozen=True)
class LoadedEpoch:
    """What an epoch came to, and the memory of this process after it."""

    per_s: float
    resident_mb: float


def measure_loading(without_cache: Batches, with_cache: Batches, patches: int, epochs: int) -> dict[str, Any]:
    """The figures; docs/bench.md says what each means. `epochs` are those without a cache, the memory is theirs."""
    decoded = load_epochs(without_cache, patches, epochs)
    return summarise_loading(decoded, load_epochs(with_cache, patches, SETTLED_EPOCH))


def load_epochs(batches: Batches, patches: int, epochs: int) -> list[LoadedEpoch]:
    """Take all batches of so many epochs of `patches` patches, as fast as they come, and look at none."""
    settings, done = RunSettings(), []
    for epoch in range(epochs):
        begin = time.perf_counter()
        for _ in batches.shuffled(settings, epoch):
            pass
        done.append(LoadedEpoch(patches / (time.perf_counter() - begin), resident_mb()))
    return done


def summarise_loading(decoded: list[LoadedEpoch], cached: list[LoadedEpoch]) -> dict[str, Any]:
    """The first epoch, medians of later ones, and what memory grew by after the third."""
    return {
        "first_epoch": round(decoded[0].per_s),
        "later_epochs": round(statistics.median(epoch.per_s for epoch in decoded[1:])),
        "later_epochs_cached": round(statistics.median(epoch.per_s for epoch in cached[1:])),
        "epochs": len(decoded),
        "resident_mb": round(decoded[-1].resident_mb, 1),
        "growth_mb": round(decoded[-1].resident_mb - decoded[SETTLED_EPOCH - 1].resident_mb, 1),
    }


def resident_mb() -> float:
    """Memory that this process holds. 0 where Linux is not."""
    if not STATM.is_file():
        return 0.0
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
