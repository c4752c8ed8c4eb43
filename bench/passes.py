"""What the bench of extraction measures, each in a process of its own: a floor, the service's jobs, two passes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench import original
from bench.floor import UnwatchedJob, render_layer
from bench.tissue import CLASSES, SPLIT, open_tissue
from services.activation_extraction.batch_runner import BatchRunner
from services.activation_extraction.batch_sizing import BatchSizing
from services.activation_extraction.batches import read_batches
from services.activation_extraction.extract import extract
from services.activation_extraction.job import extract_shard, merge_extraction
from services.activation_extraction.network import open_network
from services.activation_extraction.specs import MergeSpec, ShardSpec
from services.activation_extraction.tally import TallyOptions
from services.common.blobs import ObjectRef, open_blobs
from services.common.work.jobs import Job
from services.imaging.architectures import build_network, native_preprocessing, resolve_layers
from services.imaging.batch_decode import device_decoder
from services.imaging.checkpoint import CheckpointManifest, load_network, open_checkpoint, pack
from services.imaging.dataset import Dataset
from services.imaging.devices import choose_device
from services.imaging.manifests import ExtractionManifest
from services.imaging.preprocessing import Batch, Preprocessing

NAME = "bench"
BATCH = 32
GROUP_UNITS = 64
STATUS = Path("/proc/self/status")


def store_network(_job: Job, *, blobs_url: str, architecture: str) -> dict[str, Any]:
    """Store a checkpoint of random weights."""
    blobs = open_blobs(blobs_url)
    torch.manual_seed(0)
    weights = pack(build_network(architecture, len(CLASSES)).state_dict())
    manifest = CheckpointManifest(
        checkpoint_id=NAME,
        run_id=NAME,
        architecture=architecture,
        classes=CLASSES,
        preprocessing=native_preprocessing(architecture),
        dataset_id=NAME,
        epoch=0,
        step=0,
        settings={},
        code_version="",
        weights=blobs.put("training", f"{architecture}.safetensors", weights),
    )
    return blobs.put("training", f"{architecture}.json", manifest.model_dump_json().encode()).model_dump()


def floor(
    _job: Job, *, blobs_url: str, dataset: dict[str, Any], checkpoint: dict[str, Any], device: str
) -> dict[str, Any]:
    """Decode every patch and forward it, channels last, and keep nothing."""
    ready = Ready.of(blobs_url, dataset, checkpoint, device)
    with _timed() as seconds, torch.inference_mode():
        for batch in ready.batches():
            ready.network(ready.preprocessing.normalise(batch.pixels.to(ready.device, non_blocking=True)))
        _finish(ready.device)
    return {"seconds": seconds[0], "peak_mb": peak_mb()}


def bare(
    _job: Job, *, blobs_url: str, dataset: dict[str, Any], checkpoint: dict[str, Any], device: str
) -> dict[str, Any]:
    """Forward as many images as there are patches, channels last, that are ready where the network is; nothing else."""
    ready = Ready.of(blobs_url, dataset, checkpoint, device)
    size, side = ready.pace.batch_size, ready.preprocessing.size
    batches = -(-ready.data.manifest.splits[SPLIT] // size)
    with torch.inference_mode():
        images = ready.preprocessing.normalise(torch.randint(0, 256, (size, side, side), device=ready.device))
        _finish(ready.device)
        with _timed() as seconds:
            for _ in range(batches):
                ready.network(images)
            _finish(ready.device)
    return {"seconds": seconds[0]}


def keep(
    _job: Job,
    *,
    blobs_url: str,
    dataset: dict[str, Any],
    checkpoint: dict[str, Any],
    layers: list[str],
    top_k: int,
    device: str,
) -> dict[str, Any]:
    """Decode and forward every patch and keep what an extraction keeps; nothing of it is stored."""
    ready = Ready.of(blobs_url, dataset, checkpoint, device)
    modules = resolve_layers(ready.architecture, ready.network, layers)
    with _timed() as seconds:
        runner = BatchRunner(ready.network, modules, ready.preprocessing, ready.device)
        options = TallyOptions.of(top_k, ready.data.ids(SPLIT))
        extract(runner, ready.batches(), options, at_once=ready.pace.at_once)
        _finish(ready.device)
    return {"seconds": seconds[0]}


def ours(
    _job: Job,
    *,
    blobs_url: str,
    scratch: str,
    dataset: dict[str, Any],
    checkpoint: dict[str, Any],
    layers: list[str],
    top_k: int,
    device: str,
) -> dict[str, Any]:
    """The jobs of the extraction service: every shard, then the merge."""
    # A job finds the network that the job before it has left.
    ready = Ready.of(blobs_url, dataset, checkpoint, device)
    common: dict[str, Any] = {
        "blobs_url": blobs_url,
        "scratch": scratch,
        "extraction_id": NAME,
        "dataset": dataset,
        "checkpoint": checkpoint,
        "split": SPLIT,
        "layers": layers,
        "top_k": top_k,
    }
    with _timed() as seconds:
        shards = [
            extract_shard(UnwatchedJob(), ShardSpec(shard=shard, batch_size=BATCH, device=device, **common)).state
            for shard in range(len(ready.data.shards(SPLIT)))
        ]
        extracted = time.perf_counter()
        manifest = merge_extraction(UnwatchedJob(), MergeSpec(shards=shards, **common)).model_dump()
        merge_s = time.perf_counter() - extracted
    return {"seconds": seconds[0], "merge_s": merge_s, "peak_mb": peak_mb(), "manifest": manifest}


def pictures(_job: Job, *, blobs_url: str, scratch: str, extraction: dict[str, Any], size: int) -> dict[str, Any]:
    """The jobs of the rendering service: the pictures of all units."""
    blobs = open_blobs(blobs_url)
    ref = ObjectRef.model_validate(extraction)
    manifest = ExtractionManifest.model_validate_json(blobs.get(ref.bucket, ref.key))
    made = 0
    with _timed() as seconds:
        for layer in manifest.layers:
            groups = render_layer(blobs_url, scratch, ref, layer, size, GROUP_UNITS)
            made += sum(group.pictures for group in groups)
    return {"seconds": seconds[0], "pictures": made}


def two_pass(
    _job: Job,
    *,
    blobs_url: str,
    tissue: str,
    checkpoint: dict[str, Any],
    layers: list[str],
    top_k: int,
    units_timed: int,
    folder: str,
) -> dict[str, Any]:
    """The original's way: the first pass over all patches, and the second of some units of each layer, which is scaled
    to all of them."""
    trained = open_checkpoint(open_blobs(blobs_url), ObjectRef.model_validate(checkpoint))
    network = load_network(open_blobs(blobs_url), trained).to(memory_format=torch.contiguous_format)
    chosen = resolve_layers(trained.architecture, network, layers)
    files = [path for path, _ in open_tissue(Path(tissue)).files]
    with _timed() as first_pass:
        ranked = original.largest_first(network, chosen, files, trained.preprocessing)
    second_pass, saved, units = 0.0, 0, 0
    for name, module in chosen.items():
        numbers = ranked[name]
        timed = min(units_timed, numbers.shape[1])
        with _timed() as seconds:
            for unit in range(timed):
                top = [files[number] for number in numbers[:top_k, unit]]
                maps = original.forward_again(network, {name: module}, unit, top, trained.preprocessing)
                saved += original.save_pictures(top, maps, trained.preprocessing.size, Path(folder) / name / str(unit))
        second_pass += seconds[0] / timed * numbers.shape[1]
        units += timed
    total = sum(numbers.shape[1] for numbers in ranked.values())
    return {"first_s": first_pass[0], "second_s": second_pass, "units_timed": units, "units": total, "saved": saved}


def peak_mb() -> float:
    """The most memory that this process has held at a time. 0 where Linux is not."""
    if not STATUS.is_file():
        return 0.0
    lines = STATUS.read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


@dataclass(frozen=True)
class Ready:
    """What contenders begin with: a network that has forwarded a batch of black images, so that all is loaded that is
    loaded at first use, and the data."""

    architecture: str
    network: nn.Module
    preprocessing: Preprocessing
    data: Dataset
    device: torch.device
    pace: BatchSizing

    @classmethod
    def of(cls, blobs_url: str, dataset: dict[str, Any], checkpoint: dict[str, Any], device: str) -> "Ready":
        """Open a checkpoint, as the jobs do, and a data set."""
        blobs, where = open_blobs(blobs_url), choose_device(device)
        trained, network = open_network(blobs, ObjectRef.model_validate(checkpoint), str(where))
        data = Dataset.open(blobs, ObjectRef.model_validate(dataset))
        pace, side = BatchSizing.of(network, BATCH, where, trained.preprocessing), trained.preprocessing.size
        black = torch.zeros((pace.batch_size, side, side), dtype=torch.uint8, device=where)
        with torch.inference_mode():
            network(trained.preprocessing.normalise(black))
        _finish(where)
        return cls(trained.architecture, network, trained.preprocessing, data, where, pace)

    def batches(self) -> Iterator[Batch]:
        """All patches, as an extraction has them decoded."""
        patches = (pair for shard in self.data.shards(SPLIT) for pair in self.data.stream(shard))
        decoder = device_decoder(self.preprocessing.size, self.device)
        return read_batches(patches, self.preprocessing, self.pace.batch_size, decoder)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def _timed() -> Iterator[list[float]]:
    """The seconds of the block, in a list that they are put into when it ends."""
    seconds: list[float] = []
    begin = time.perf_counter()
    yield seconds
    seconds.append(time.perf_counter() - begin)
