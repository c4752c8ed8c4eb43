"""Prints the tables of docs/scaling.md from constants, model and simulation.

python -m deploy.scaling.report
"""

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

from deploy.scaling.constants import Constants
from deploy.scaling.model import (
    AS_IT_IS,
    CHANGED,
    SHARED_ONCE,
    Design,
    Prices,
    Setup,
    cost_per_million,
    demands,
    line_s,
    merge_s,
    saturates_at,
)
from deploy.scaling.simulation import simulate

WORKERS = (1, 10, 100, 1000)
SIZES = (10**6, 10**7, 10**8, 10**9)
LARGEST = 10**9

STEPS: tuple[Design, ...] = (
    AS_IT_IS,
    replace(AS_IT_IS, name="a shard's command carries its part of the manifest", reads_manifest=False),
    replace(AS_IT_IS, name="counters instead of counted rows", reads_manifest=False, counts_rows=False),
    replace(AS_IT_IS, name="progress once a minute", reads_manifest=False, counts_rows=False, progress_s=60.0),
    replace(CHANGED, name="16 shards a message", store_nodes=1, merge_fan_in=0),
    replace(CHANGED, name="128 nodes of the store", merge_fan_in=0),
    replace(CHANGED, name="merge as a tree of 32"),
)
"""Each step includes the steps before it."""


def sections(constants: Constants) -> Iterator[str]:
    """Yield the tables."""
    yield table(("constant", "value"), [(f"`{name}`", f"{value:.3g}") for name, value in asdict(constants).items()])
    yield walls(constants)
    yield saturation(constants)
    yield simulated(constants)


def walls(constants: Constants) -> str:
    """Return how the current product grows with the patches of one extraction."""
    rows = []
    for patches in SIZES:
        setup = Setup(patches=patches)
        needed = demands(constants, setup, AS_IT_IS, done=1.0)
        useful = setup.shard_patches / setup.worker_patches_per_s
        limits = saturates_at(constants, setup, AS_IT_IS)
        first = min(limits, key=lambda part: limits[part])
        rows.append(
            (
                f"{patches:,}", f"{setup.shards:,}", f"{useful:.1f} s", duration(needed.compute),
                f"{1000 * needed.database:.0f} ms", f"{limits[first]:.0f} ({first})",
                duration(merge_s(constants, setup, AS_IT_IS)),
            )
        )  # fmt: skip
    head = (
        "patches",
        "shards",
        "forward pass of a shard",
        "its job",
        "time the record is locked",
        "workers that saturate one part",
        "merge",
    )
    return table(head, rows)


def saturation(constants: Constants) -> str:
    """Return the number of workers that saturate each part at 10^9 patches, one change after the other."""
    rows = []
    for design in STEPS:
        setup = Setup(patches=LARGEST, workers=1000)
        limits = saturates_at(constants, setup, design)
        rows.append(
            (
                design.name, *(f"{limits[part]:,.0f}" for part in SHARED_ONCE),
                duration(line_s(constants, setup, design)), duration(merge_s(constants, setup, design)),
            )
        )  # fmt: skip
    return table(("design", *SHARED_ONCE, "shards by 1,000 workers", "merge"), rows)


def simulated(constants: Constants) -> str:
    """Simulate 10^9 patches on 1 to 1,000 workers, some of which are lost, with all changes."""
    rows = []
    for workers in WORKERS:
        setup = Setup(patches=LARGEST, workers=workers)
        design = replace(CHANGED, store_nodes=math.ceil(workers * CHANGED.store_nodes / WORKERS[-1]))
        outcome = simulate(constants, setup, design)
        line = line_s(constants, setup, design)
        paid = cost_per_million(constants, setup, design, outcome.seconds, Prices())
        busy = ", ".join(f"{part} {share:.0%}" for part, share in outcome.busy.items())
        rows.append(
            (
                f"{workers:,}", str(design.store_nodes), duration(outcome.shards_s),
                f"{outcome.shards_s / line - 1:+.1%}", duration(outcome.merge_s), str(outcome.losses), busy,
                " + ".join(f"{part:.2f}" for part in paid.values()),
            )
        )  # fmt: skip
    cost = "a million patches: GPU + servers + storage"
    head = ("workers", "nodes of the store", "shards", "over the formula", "merge", "lost workers", "busy", cost)
    return table(head, rows)


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Format a Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def duration(seconds: float) -> str:
    """Format seconds with a suitable unit."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.1f} s"


if __name__ == "__main__":
    sys.stdout.write("\n".join(sections(Constants.read())))
