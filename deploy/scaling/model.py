"""A cost model: the load of an extraction on each part of the product, as formulas over the constants and a set-up.

A part is anything that all workers share. It serves one thing at a time, or a number of bytes per second. A part
saturates when the workers need more than one second of its time per second.
"""

import math
from dataclasses import dataclass

from deploy.scaling.constants import UNITS, Constants
from services.activation_extraction.job import AT_A_TIME
from services.activation_extraction.matrices import PIECE_VALUES

SHARED_ONCE = ("broker", "database", "store")
"""The parts that each shard passes. The merge comes once, at the end."""

RECORD_CHANGES, LEASE_CHANGES = 2, 2
"""Transactions per message: on the record of the extraction, at the begin and the end, and on the message's own
lease."""


@dataclass(frozen=True)
class Design:
    """A design of the product. The defaults describe the current one."""

    name: str = "as it is"
    shards_per_message: int = 1
    """Shards of 4,096 patches per message. They leave one state."""
    counts_rows: bool = True
    """Whether each shard counts the records of the shards before it; otherwise the extraction stores two numbers."""
    reads_manifest: bool = True
    """Whether recording a shard reads the manifest of the data set while it locks the extraction's record; and whether
    each job reads the whole manifest and draws the sample again, instead of receiving its own part."""
    progress_s: float = 0.5
    """Seconds between two records of a worker's progress. Each locks the extraction's record."""
    merge_fan_in: int = 0
    """States per merge, in a tree over all workers; 0 merges all states in one job."""
    store_nodes: int = 1


AS_IT_IS = Design()
CHANGED = Design(
    "changed", 16, counts_rows=False, reads_manifest=False, progress_s=60.0, merge_fan_in=32, store_nodes=128
)  # fmt: skip


@dataclass(frozen=True)
class Setup:
    """The extraction and its workers. The rate of a GPU is assumed: see docs/scaling.md."""

    patches: int = 10**9
    workers: int = 1
    shard_patches: int = 4096
    layers: int = 5
    worker_patches_per_s: float = 2000.0
    losses_per_worker_hour: float = 0.01
    lease_s: float = 30.0
    restart_s: float = 120.0
    seed: int = 0

    @property
    def shards(self) -> int:
        """Shards of the split."""
        return math.ceil(self.patches / self.shard_patches)


@dataclass(frozen=True)
class Prices:
    """Prices, which you replace by your own."""

    gpu_hour: float = 2.0
    server_hour: float = 1.0
    """Broker, database and one node of the store, together."""
    store_node_hour: float = 0.4
    gigabyte_month: float = 0.02


@dataclass(frozen=True)
class Demands:
    """Seconds of each part that one message (some shards) needs."""

    compute: float
    """Seconds of its worker, including waits for its own lease."""
    broker: float
    database: float
    """Seconds of the extraction's record, which one transaction at a time locks."""
    store: float


def messages(setup: Setup, design: Design) -> int:
    """Return the number of messages of the extraction."""
    return math.ceil(setup.shards / design.shards_per_message)


def demands(constants: Constants, setup: Setup, design: Design, done: float = 0.5) -> Demands:
    """Return the demands of one message, when the share `done` of all messages is complete."""
    patches = setup.shard_patches * design.shards_per_message
    compute = patches / setup.worker_patches_per_s + LEASE_CHANGES * constants.transaction_s
    if design.reads_manifest:
        compute += setup.patches * constants.sample_patch_s + setup.shards * constants.manifest_shard_s
    changes = RECORD_CHANGES + compute / design.progress_s
    held = changes * constants.transaction_s
    if design.counts_rows:
        held += done * messages(setup, design) * constants.count_row_s
    if design.reads_manifest:
        held += setup.shards * constants.manifest_shard_s
    read = patches * constants.patch_bytes
    if design.reads_manifest:
        read += 2 * setup.shards * constants.manifest_shard_bytes  # in the job, and for the record
    left = written_bytes(constants, setup, patches)
    store = (
        read / constants.store_get_bytes_per_s
        + left / constants.store_put_bytes_per_s
        + (1 + setup.layers) * constants.store_put_s
    ) / design.store_nodes
    return Demands(compute, 1 / constants.messages_per_s, held, store)


def written_bytes(constants: Constants, setup: Setup, patches: int) -> float:
    """Return the bytes that one message leaves in the store."""
    return setup.layers * (constants.state_bytes + patches * constants.maxima_bytes)


def merge_s(constants: Constants, setup: Setup, design: Design) -> float:
    """Return the seconds of the merge after the last shard. It is one job that merges two layers at a time; or a tree,
    whose merges the workers share. They then also share the work per patch, in one pass over all patches."""
    by_patch = setup.patches * constants.merge_patch_s * setup.layers
    arrival = 1 / constants.store_get_bytes_per_s / design.store_nodes
    by_patch += setup.patches * setup.layers * constants.maxima_bytes * arrival
    states = messages(setup, design)
    each = (constants.merge_shard_s + constants.state_bytes * arrival) * setup.layers
    if not design.merge_fan_in:
        again = setup.patches * constants.maxima_bytes / constants.part_bytes_per_s * passes(setup) * setup.layers
        return (states * each + by_patch + again) / min(AT_A_TIME, setup.layers)
    seconds = by_patch / setup.workers
    while states > 1:
        merges = math.ceil(states / design.merge_fan_in)
        seconds += math.ceil(merges / setup.workers) * min(states, design.merge_fan_in) * each
        states = merges
    return seconds


def passes(setup: Setup) -> int:
    """Return how often the statistics of a layer read all maxima. Each pass covers the units that fit in a piece."""
    return math.ceil(UNITS / max(1, PIECE_VALUES // setup.patches))


def saturates_at(constants: Constants, setup: Setup, design: Design) -> dict[str, float]:
    """Return by part the number of workers that saturate it, at the end, when most rows are counted."""
    needed = demands(constants, setup, design, done=1.0)
    return {part: needed.compute / getattr(needed, part) for part in SHARED_ONCE}


def line_s(constants: Constants, setup: Setup, design: Design) -> float:
    """Return the seconds until all shards are complete, without losses: by the rate of the workers, or of the busiest
    part."""
    needed = demands(constants, setup, design)
    alone = needed.compute + needed.broker + needed.database + needed.store
    busiest = max(needed.broker, needed.database, needed.store)
    return messages(setup, design) * max(alone / setup.workers, busiest)


def cost_per_million(
    constants: Constants, setup: Setup, design: Design, seconds: float, prices: Prices
) -> dict[str, float]:
    """Return the cost of a million patches of an extraction that took `seconds`; storage for a month."""
    millions, hours = setup.patches / 1e6, seconds / 3600
    left = written_bytes(constants, setup, setup.patches) + setup.patches * constants.patch_bytes
    return {
        "gpu": setup.workers * hours * prices.gpu_hour / millions,
        "servers": hours * (prices.server_hour + (design.store_nodes - 1) * prices.store_node_hour) / millions,
        "storage": left / 1e9 * prices.gigabyte_month / millions,
    }
