"""Measures the cost of single operations with the product's own code, on real servers of this machine.

python -m deploy.scaling.constants [--quick] [--keep]     prints the constants as JSON, on the last line
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from sqlalchemy import func, insert, select, text

from bench.floor import UnwatchedJob
from bench.machine import machine_facts
from bench.messages import measure_throughput, over_outbox
from bench.passes import store_network
from bench.specs import NetworkSpec
from bench.tissue import SPLIT, store_tissue, stored_manifest
from deploy.local.servers import start_postgres, start_rabbitmq, start_s3, stop_epmd
from services.activation_extraction.job import extract_shard, merge_extraction
from services.activation_extraction.matrices import BLOCK_ROWS, PIECE_VALUES
from services.activation_extraction.specs import MergeSpec, ShardSpec, ShardState
from services.activation_extraction.statistics import unit_statistics
from services.activation_extraction.tables import ExtractionRow, ShardRow
from services.activation_extraction.tally import TallyOptions
from services.cli.migrations import migrations_of
from services.common.blobs import ObjectRef, open_blobs
from services.common.observability.logs import configure_logs
from services.common.progress import Progress
from services.common.records import Records, migrate, open_records
from services.common.settings import Shared
from services.imaging.dataset import DatasetManifest, Shard
from services.imaging.tensors import local_tensors

MEASURED = Path(__file__).with_name("measured.json")
"""The constants behind docs/scaling.md."""

LAYERS = ["conv3", "conv5"]
TOP_K = 64
BATCH = 32
LARGE_BYTES = 64 << 20
MERGES = 5
"""Repetitions of a merge. The fastest counts, because their differences are small."""
UNITS = 320
"""Average number of units of the two layers."""


@dataclass(frozen=True)
class Sizes:
    """The size of each measurement."""

    shards: int
    shard_patches: int
    messages: int
    rows: int
    manifest_shards: int
    patch_ids: int
    repeats: int


FULL = Sizes(16, 64, 5000, 50_000, 50_000, 1_000_000, 200)
QUICK = Sizes(4, 32, 500, 5000, 5000, 100_000, 30)


@dataclass(frozen=True)
class Constants:
    """Seconds and bytes of single operations. `merge_*` hold for one layer, of 320 units on average, and one thread."""

    patches_per_s: float
    """Patches that one CPU thread extracts per second: alexnet, two layers."""
    patch_bytes: float
    """Bytes of a stored patch of 227 pixels."""
    state_bytes: float
    """Bytes of a shard's state, per layer."""
    maxima_bytes: float
    """Bytes of the maxima of one patch, per layer."""
    merge_shard_s: float
    """Seconds of the merge per shard and layer, from local copies, without the work per patch."""
    merge_patch_s: float
    """Seconds of the merge per patch and layer: statistics, correlation and ranking of its maxima."""
    messages_per_s: float
    """Messages per second through outbox, broker and consumer."""
    transaction_s: float
    """Seconds of a transaction that locks, changes and commits a row."""
    row_bytes: float
    """Bytes of the record of a shard, including its indexes."""
    count_row_s: float
    """Seconds of counting the completed shards of an extraction, per shard."""
    manifest_shard_s: float
    """Seconds of reading the manifest of a data set, per shard in it."""
    manifest_shard_bytes: float
    """Bytes of that manifest, per shard."""
    sample_patch_s: float
    """Seconds of drawing the sample of a split, per patch of the split."""
    store_put_s: float
    """Seconds of an upload that is read back, for an object of any size."""
    store_put_bytes_per_s: float
    store_get_bytes_per_s: float
    part_bytes_per_s: float
    """Bytes per second when the maxima of a shard are read from its local copy. The statistics repeat this for each
    piece of units."""

    @classmethod
    def read(cls, path: Path = MEASURED) -> "Constants":
        """Read the stored constants."""
        stored = json.loads(path.read_text())["constants"]
        return cls(**{field.name: stored[field.name] for field in fields(cls)})


@contextmanager
def running_servers() -> Iterator[Shared]:
    """Run a broker, a store and a database during the block. Yield the settings that name them."""
    with tempfile.TemporaryDirectory(prefix="scaling-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL's user has to open its own folder
        servers = [start_rabbitmq(folder / "rabbitmq"), start_s3(folder / "s3"), start_postgres(folder / "postgres")]
        broker, store, database = (server.url for server in servers)
        try:
            yield Shared(home=folder / "home", bus_url=broker, blobs_url=store, records_url=database)
        finally:
            for server in servers:
                server.kill()
            stop_epmd(int(servers[0].environment["ERL_EPMD_PORT"]))


def measure(sizes: Sizes) -> dict[str, Any]:
    """Measure all constants. Return them with the facts of the machine."""
    torch.set_num_threads(1)
    machine = machine_facts()
    with running_servers() as shared:
        found = measure_extraction(sizes) | measure_store(shared, sizes) | measure_records(shared, sizes)
        found["messages_per_s"] = measure_throughput(shared, over_outbox, sizes.messages)["per_minute"] / 60
    found |= measure_manifest(sizes) | measure_sample(sizes)
    constants = Constants(**{name: float(f"{value:.4g}") for name, value in found.items()})
    return {"bench": "scaling", "constants": asdict(constants), "sizes": asdict(sizes), "machine": machine}


def measure_extraction(sizes: Sizes) -> dict[str, float]:
    """Run jobs of the extraction service in this process, over a folder: some shards, and merges of a quarter, of half
    and of all of them."""
    with tempfile.TemporaryDirectory(prefix="scaling-") as name:
        folder = store_tissue(Path(name) / "tissue", 227, sizes.shards * sizes.shard_patches, sizes.shard_patches)
        blobs_url = f"folder://{folder / 'store'}"
        job: Any = UnwatchedJob()
        dataset = stored_manifest(folder)
        common: dict[str, Any] = {
            "blobs_url": blobs_url, "scratch": str(folder / "scratch"), "dataset": dataset,
            "checkpoint": store_network(job, NetworkSpec(blobs_url=blobs_url, architecture="alexnet")),
            "split": SPLIT, "layers": LAYERS, "top_k": TOP_K,
        }  # fmt: skip

        def shard(number: int) -> ShardState:
            spec = ShardSpec(extraction_id="scaling", shard=number, batch_size=BATCH, device="cpu", **common)
            return extract_shard(job, spec).state

        shard(0)  # loads the network
        seconds, states = _timed(lambda: [shard(number) for number in range(sizes.shards)])
        counts = (sizes.shards // 4, sizes.shards // 2, sizes.shards)
        merged = {count: _merge_s(job, common, states[:count]) for count in counts}
        manifest = DatasetManifest.model_validate_json(open_blobs(blobs_url).get(dataset.bucket, dataset.key))
        patches = sizes.shards * sizes.shard_patches
        each = _slope(merged)  # for one layer, because the two layers are merged in parallel
        by_patch = _statistics_s(sizes)
        return {
            "patches_per_s": patches / seconds,
            "patch_bytes": sum(one.object.size for one in manifest.shards) / patches,
            "state_bytes": statistics.mean(state.state.size for state in states) / len(LAYERS),
            "maxima_bytes": sum(ref.size for state in states for ref in state.maxima.values()) / patches / len(LAYERS),
            "merge_patch_s": by_patch,
            "merge_shard_s": max(each - by_patch * sizes.shard_patches, 0.0),
            "part_bytes_per_s": _part_bytes_per_s(folder),
        }


def _merge_s(job: Any, common: dict[str, Any], states: list[ShardState]) -> float:
    spec = MergeSpec(extraction_id=f"merged-{len(states)}", shards=states, **common)
    return min(_timed(lambda: merge_extraction(job, spec))[0] for _ in range(MERGES))


def _part_bytes_per_s(folder: Path) -> float:
    path = folder / "part.safetensors"
    save_file({"maxima": torch.zeros(LARGE_BYTES // UNITS // 2, UNITS, dtype=torch.float16)}, path)

    def read() -> None:
        local_tensors(path).all("maxima")[:, :1].astype(np.float32)

    return LARGE_BYTES / min(_timed(read)[0] for _ in range(5))


def _slope(seconds: dict[int, float]) -> float:
    """Return the seconds per shard, by fitting a line to the seconds of several numbers of shards."""
    return float(np.polyfit(list(seconds), list(seconds.values()), 1)[0])


def _statistics_s(sizes: Sizes) -> float:
    """Measure the seconds per patch of a merge's work on the maxima of a layer of 320 units, two classes."""
    patches, units = sizes.rows, UNITS
    generator = np.random.default_rng(0)
    maxima = generator.standard_normal((patches, units), np.float32).clip(0).astype(np.float16)
    labels = (np.arange(patches) % 2).astype(np.int64)

    def work() -> None:
        step = max(1, PIECE_VALUES // patches)
        for first in range(0, units, step):
            unit_statistics(maxima[:, first : first + step].astype(np.float32), labels, 2, first)
        for begin in range(0, patches, BLOCK_ROWS):
            block = maxima[begin : begin + BLOCK_ROWS].astype(np.float64)
            block.T @ block

    return _timed(work)[0] / patches


def measure_store(shared: Shared, sizes: Sizes) -> dict[str, float]:
    """Measure uploads and downloads, one after the other."""
    blobs = open_blobs(shared.blobs())
    blobs.ensure_bucket("scaling")
    generator = np.random.default_rng(0)
    large = [generator.bytes(LARGE_BYTES) for _ in range(3)]
    small, _ = _timed(lambda: [blobs.put("scaling", f"small-{n}", b"%d" % n) for n in range(sizes.repeats)])
    put, refs = _timed(lambda: [blobs.put("scaling", f"large-{n}", content) for n, content in enumerate(large)])
    get, _ = _timed(lambda: [blobs.get(ref.bucket, ref.key) for ref in refs])
    size = LARGE_BYTES * len(large)
    return {
        "store_put_s": small / sizes.repeats,
        "store_put_bytes_per_s": size / put,
        "store_get_bytes_per_s": size / get,
    }


def measure_records(shared: Shared, sizes: Sizes) -> dict[str, float]:
    """Measure the records of one extraction of many shards."""
    records = open_records(shared.records("activation_extraction"))
    migrate(records, migrations_of("activation_extraction"))
    try:
        with records.transaction() as session:
            session.add(
                ExtractionRow(
                    extraction_id="scaling", run_id="run-1", split=SPLIT, layers=LAYERS, top_k=TOP_K, batch_size=BATCH,
                    shards=sizes.rows, patches=sizes.rows,
                )
            )  # fmt: skip
        key = "extractions/scaling/shards/00000"
        ref = ObjectRef(bucket="activation-extraction", key=key, sha256="0" * 64, size=1)
        state = ShardState(state=ref, maxima=dict.fromkeys(LAYERS, ref))
        with records.transaction() as session:
            rows = [{"extraction_id": "scaling", "shard": n, "patches": 1, "state": state} for n in range(sizes.rows)]
            session.execute(insert(ShardRow), rows)
        return {
            "transaction_s": _timed(lambda: _change(records, sizes.repeats))[0] / sizes.repeats,
            "row_bytes": _read(records, text("select pg_total_relation_size('activation_extraction.shards')"))
            / sizes.rows,
            "count_row_s": _count_s(records) / sizes.rows,
        }
    finally:
        records.close()


def _change(records: Records, times: int) -> None:
    for number in range(times):
        with records.transaction() as session:
            row = session.get_one(ExtractionRow, "scaling", with_for_update=True)
            row.progress = Progress(done=number)


def _count_s(records: Records) -> float:
    """Measure the sum that each shard begins with and the count that it ends with, after a vacuum of the rows."""
    with records.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("vacuum analyze"))
    own = ShardRow.extraction_id == "scaling"
    queries = (select(func.sum(ShardRow.patches)).where(own), select(func.count()).where(own))
    return min(_timed(lambda: [_read(records, query) for query in queries])[0] for _ in range(5))


def _read(records: Records, query: Any) -> float:
    with records.reading() as session:
        return float(session.scalar(query) or 0)


def measure_manifest(sizes: Sizes) -> dict[str, float]:
    """Measure reading the manifest of a data set of many shards, as every job and every recorded shard does."""
    ref = ObjectRef(bucket="training", key=f"datasets/{'0' * 12}/shards/train-00000.tar", sha256="0" * 64, size=1 << 28)
    shards = tuple(
        Shard(object=ref, split=SPLIT, first=4096 * n, last=4096 * n + 4095) for n in range(sizes.manifest_shards)
    )
    manifest = DatasetManifest(
        dataset_id="0", name="scaling", notice="", classes=("a", "b"), splits={SPLIT: 1}, mammogram_count=0,
        shards=shards, index=ref, mammograms=ref, lesions=ref,
    )  # fmt: skip
    body = manifest.model_dump_json().encode()
    seconds = min(_timed(lambda: DatasetManifest.model_validate_json(body))[0] for _ in range(3))
    return {
        "manifest_shard_s": seconds / sizes.manifest_shards,
        "manifest_shard_bytes": len(body) / sizes.manifest_shards,
    }


def measure_sample(sizes: Sizes) -> dict[str, float]:
    """Measure drawing the sample, as the job of every shard does over all patches of the split."""
    ids = np.arange(sizes.patch_ids)
    seconds, _ = _timed(lambda: TallyOptions.of(TOP_K, ids))
    return {"sample_patch_s": seconds / sizes.patch_ids}


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    result = work()
    return time.perf_counter() - begin, result


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Measure the cost of single operations.")
    parser.add_argument("--quick", action="store_true", help="use small sizes, for a quick check")
    parser.add_argument("--keep", action="store_true", help=f"also write the constants to {MEASURED.name}")
    options = parser.parse_args()
    configure_logs("console", "warning")
    found = measure(QUICK if options.quick else FULL)
    if options.keep:
        MEASURED.write_text(json.dumps(found, indent=1) + "\n")
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
