"""What an extraction costs each part of the product, as a formula over the constants and a set-up.

A part is anything that all workers share: it serves one thing at a time, or so many bytes a second. A part saturates
where the workers ask more of it than one second a second.
"""

import math
from dataclasses import dataclass

from deploy.scaling.constants import UNITS, Constants
from services.activation_extraction.job import AT_A_TIME
from services.activation_extraction.matrices import PIECE_VALUES

SHARED_ONCE = ("broker", "database", "store")
"""The parts that each shard passes; the merge comes once, at the end."""

RECORD_CHANGES, LEASE_CHANGES = 2, 2
"""Transactions of a message: on the record of the extraction, when it begins and ends, and on its own lease."""


@dataclass(frozen=True)
class Design:
    """How the product does it. The defaults are what it does now."""

    name: str = "as it is"
    shards_a_message: int = 1
    """Shards of 4,096 patches that one message asks for, and that leave one state."""
    counts_rows: bool = True
    """Whether each shard counts the records of those before it; else the extraction keeps two numbers."""
    reads_manifest: bool = True
    """Whether the record of a shard reads the manifest of the data set, while it holds the extraction's; and whether
    each job reads it whole and draws the sample anew, instead of having its own part handed to it."""
    progress_s: float = 0.5
    """Seconds between two records of a worker's progress, each of which locks the extraction's."""
    merge_fan_in: int = 0
    """States that one merge takes, as a tree over all workers; 0 merges all of them in one job."""
    store_nodes: int = 1


AS_IT_IS = Design()
CHANGED = Design(
    "changed", 16, counts_rows=False, reads_manifest=False, progress_s=60.0, merge_fan_in=32, store_nodes=128
)  # fmt: skip


@dataclass(frozen=True)
class Setup:
    """What is asked for, and of what. The rate of a GPU is assumed: see docs/scaling.md."""

    patches: int = 10**9
    workers: int = 1
    shard_patches: int = 4096
    layers: int = 5
    worker_patches_per_s: float = 2000.0
    losses_a_worker_hour: float = 0.01
    lease_s: float = 30.0
    restart_s: float = 120.0
    seed: int = 0

    @property
    def shards(self) -> int:
        """Of the split."""
        return math.ceil(self.patches / self.shard_patches)


@dataclass(frozen=True)
class Prices:
    """Parameters: put your own."""

    gpu_hour: float = 2.0
    server_hour: float = 1.0
    """Broker, database and one node of the store together."""
    store_node_hour: float = 0.4
    gigabyte_month: float = 0.02


@dataclass(frozen=True)
class Demands:
    """Seconds that one message (some shards) asks of each part, and bytes that it leaves."""

    compute: float
    """Of its worker, waits for its own lease included."""
    broker: float
    database: float
    """Of the extraction's record, which one transaction at a time holds."""
    store: float


def messages(setup: Setup, design: Design) -> int:
    """Messages of the extraction."""
    return math.ceil(setup.shards / design.shards_a_message)


def demands(constants: Constants, setup: Setup, design: Design, done: float = 0.5) -> Demands:
    """Of one message, when this part of all messages is in."""
    patches = setup.shard_patches * design.shards_a_message
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
    """That one message leaves in the store."""
    return setup.layers * (constants.state_bytes + patches * constants.maxima_bytes)


def merge_s(constants: Constants, setup: Setup, design: Design) -> float:
    """Seconds of the merge after the last shard: one job that does two layers at a time; or a tree, whose merges the
    workers share, as they do what goes by patches, in one pass over them."""
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
    """Times that the statistics of a layer read all maxima: as many units at once as a bounded piece holds."""
    return math.ceil(UNITS / max(1, PIECE_VALUES // setup.patches))


def saturates_at(constants: Constants, setup: Setup, design: Design) -> dict[str, float]:
    """By part the number of workers that together ask all of it, at the end, when most is counted."""
    asked = demands(constants, setup, design, done=1.0)
    return {part: asked.compute / getattr(asked, part) for part in SHARED_ONCE}


def line_s(constants: Constants, setup: Setup, design: Design) -> float:
    """Seconds until all shards are in, without losses: the workers' rate or that of the busiest part."""
    asked = demands(constants, setup, design)
    alone = asked.compute + asked.broker + asked.database + asked.store
    busiest = max(asked.broker, asked.database, asked.store)
    return messages(setup, design) * max(alone / setup.workers, busiest)


def cost_a_million(
    constants: Constants, setup: Setup, design: Design, seconds: float, prices: Prices
) -> dict[str, float]:
    """What a million patches cost that took, with all others, so many seconds; storage for a month."""
    millions, hours = setup.patches / 1e6, seconds / 3600
    left = written_bytes(constants, setup, setup.patches) + setup.patches * constants.patch_bytes
    return {
        "gpu": setup.workers * hours * prices.gpu_hour / millions,
        "servers": hours * (prices.server_hour + (design.store_nodes - 1) * prices.store_node_hour) / millions,
        "storage": left / 1e9 * prices.gigabyte_month / millions,
    }
