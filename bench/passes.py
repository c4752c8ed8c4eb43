"""The passes that the bench of extraction measures: two floors, the service's jobs, the original's two passes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench import original
from bench.floor import UnwatchedJob, render_groups, timed
from bench.specs import (
    BARE,
    FLOOR,
    OURS,
    PICTURES,
    STORE_NETWORK,
    TALLY,
    TWO_PASS,
    FullPass,
    NetworkSpec,
    Pass,
    PassSpec,
    Pictures,
    PicturesSpec,
    TwoPass,
    TwoPassSpec,
)
from bench.tissue import CLASSES, open_tissue
from services.activation_extraction.batch_runner import BatchRunner
from services.activation_extraction.batch_sizing import BatchSizing
from services.activation_extraction.batches import read_batches
from services.activation_extraction.extract import extract
from services.activation_extraction.job import extract_shard, merge_extraction
from services.activation_extraction.network import open_network
from services.activation_extraction.specs import MergeSpec, ShardSpec
from services.activation_extraction.tally import TallyOptions
from services.common.blobs import ObjectRef, open_blobs
from services.common.blobs.port import read_verified
from services.common.work.jobs import Job
from services.imaging.architectures import build_network, native_preprocessing, resolve_layers
from services.imaging.batch_decode import device_decoder
from services.imaging.checkpoint import CheckpointManifest, load_network, open_checkpoint, pack
from services.imaging.dataset import Dataset
from services.imaging.devices import choose_device
from services.imaging.manifests import ExtractionManifest
from services.imaging.preprocessing import Batch, Preprocessing
from services.patch_rendering.specs import RenderSpec

NAME = "bench"
BATCH = 32
GROUP_UNITS = 64
STATUS = Path("/proc/self/status")


@STORE_NETWORK.implements
def store_network(_job: Job, spec: NetworkSpec) -> ObjectRef:
    """Store a checkpoint with random weights. Return the reference to its manifest."""
    blobs = open_blobs(spec.blobs_url)
    torch.manual_seed(0)
    weights = pack(build_network(spec.architecture, len(CLASSES)).state_dict())
    manifest = CheckpointManifest(
        checkpoint_id=NAME,
        run_id=NAME,
        architecture=spec.architecture,
        classes=CLASSES,
        preprocessing=native_preprocessing(spec.architecture),
        dataset_id=NAME,
        epoch=0,
        step=0,
        settings={},
        code_version="",
        weights=blobs.put("training", f"{spec.architecture}.safetensors", weights),
    )
    return blobs.put("training", f"{spec.architecture}.json", manifest.model_dump_json().encode())


@FLOOR.implements
def floor(_job: Job, spec: PassSpec) -> Pass:
    """Decode and forward every patch, channels last, and discard the activations."""
    ready = Ready.of(spec)
    seconds: dict[str, float] = {}
    with timed(seconds, "floor"), torch.inference_mode():
        for batch in ready.batches():
            ready.network(ready.preprocessing.normalise(batch.pixels.to(ready.device, non_blocking=True)))
        _finish(ready.device)
    return Pass(seconds=seconds["floor"], peak_mb=peak_mb())


@BARE.implements
def bare(_job: Job, spec: PassSpec) -> Pass:
    """Only forward one batch that is on the network's device, channels last, as often as there are batches of
    patches."""
    ready = Ready.of(spec)
    size, side = ready.sizing.batch_size, ready.preprocessing.size
    batches = -(-ready.data.manifest.splits[spec.split] // size)
    seconds: dict[str, float] = {}
    with torch.inference_mode():
        images = ready.preprocessing.normalise(torch.randint(0, 256, (size, side, side), device=ready.device))
        _finish(ready.device)
        with timed(seconds, "bare"):
            for _ in range(batches):
                ready.network(images)
            _finish(ready.device)
    return Pass(seconds=seconds["bare"], peak_mb=peak_mb())


@TALLY.implements
def tally(_job: Job, spec: PassSpec) -> Pass:
    """Decode, forward and tally every patch as an extraction does, and store nothing."""
    ready = Ready.of(spec)
    modules = resolve_layers(ready.architecture, ready.network, spec.layers)
    seconds: dict[str, float] = {}
    with timed(seconds, "tally"):
        runner = BatchRunner(ready.network, modules, ready.preprocessing, ready.device)
        options = TallyOptions.of(spec.top_k, ready.data.ids(spec.split))
        extract(runner, ready.batches(), options, at_once=ready.sizing.at_once)
        _finish(ready.device)
    return Pass(seconds=seconds["tally"], peak_mb=peak_mb())


@OURS.implements
def ours(_job: Job, spec: PassSpec) -> FullPass:
    """Run the jobs of the extraction service: every shard, then the merge."""
    ready = Ready.of(spec)  # a job finds the network that the job before it has loaded
    common: dict[str, Any] = {name: getattr(spec, name) for name in type(spec).model_fields if name != "device"}
    seconds: dict[str, float] = {}
    with timed(seconds, "shards"):
        states = [
            extract_shard(UnwatchedJob(), ShardSpec(shard=shard, batch_size=BATCH, device=spec.device, **common)).state
            for shard in range(len(ready.data.shards(spec.split)))
        ]
    with timed(seconds, "merge"):
        manifest = merge_extraction(UnwatchedJob(), MergeSpec(shards=states, **common))
    total_s = seconds["shards"] + seconds["merge"]
    return FullPass(seconds=total_s, merge_s=seconds["merge"], peak_mb=peak_mb(), manifest=manifest)


@PICTURES.implements
def pictures(_job: Job, spec: PicturesSpec) -> Pictures:
    """Run the jobs of the rendering service: the pictures of all units."""
    manifest = ExtractionManifest.model_validate_json(read_verified(open_blobs(spec.blobs_url), spec.extraction))
    count = 0
    seconds: dict[str, float] = {}
    with timed(seconds, "pictures"):
        for layer in manifest.layers:
            render_spec = RenderSpec(
                blobs_url=spec.blobs_url, scratch=spec.scratch, rendering_id=NAME, extraction=spec.extraction,
                layer=layer.name, first=0, last=0, size=spec.size,
            )  # fmt: skip
            count += sum(group.pictures for group in render_groups(render_spec, layer.units, GROUP_UNITS))
    return Pictures(seconds=seconds["pictures"], pictures=count)


@TWO_PASS.implements
def two_pass(_job: Job, spec: TwoPassSpec) -> TwoPass:
    """Run the original's passes: the first over all patches, the second for some units of each layer. The seconds of
    the second are scaled to all units."""
    blobs = open_blobs(spec.blobs_url)
    trained = open_checkpoint(blobs, spec.checkpoint)
    network = load_network(blobs, trained).to(memory_format=torch.contiguous_format)
    chosen = resolve_layers(trained.architecture, network, spec.layers)
    files = [path for path, _ in open_tissue(Path(spec.tissue)).files]
    seconds: dict[str, float] = {}
    with timed(seconds, "first"):
        ranked = original.largest_first(network, chosen, files, trained.preprocessing)
    second_s, saved, timed_units = 0.0, 0, 0
    for name, module in chosen.items():
        units = ranked[name].shape[1]
        some = min(spec.units_timed, units)
        with timed(seconds, name):
            for unit in range(some):
                top = [files[number] for number in ranked[name][: spec.top_k, unit]]
                maps = original.forward_again(network, {name: module}, unit, top, trained.preprocessing)
                folder = Path(spec.folder) / name / str(unit)
                saved += original.save_pictures(top, maps, trained.preprocessing.size, folder)
        second_s += seconds[name] / some * units
        timed_units += some
    total = sum(numbers.shape[1] for numbers in ranked.values())
    return TwoPass(first_s=seconds["first"], second_s=second_s, units_timed=timed_units, units=total, saved=saved)


def peak_mb() -> float:
    """Return the peak memory of this process. 0 on systems other than Linux."""
    if not STATUS.is_file():
        return 0.0
    lines = STATUS.read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


@dataclass(frozen=True)
class Ready:
    """The data set and the network of a pass. The network has forwarded a batch of black images, so that everything is
    loaded that is loaded at first use."""

    architecture: str
    network: nn.Module
    preprocessing: Preprocessing
    data: Dataset
    split: str
    device: torch.device
    sizing: BatchSizing

    @classmethod
    def of(cls, spec: PassSpec) -> "Ready":
        """Open the data set and the checkpoint, as the jobs do."""
        blobs, device = open_blobs(spec.blobs_url), choose_device(spec.device)
        trained, network = open_network(blobs, spec.checkpoint, str(device))
        data = Dataset.open(blobs, spec.dataset)
        sizing, side = BatchSizing.of(network, BATCH, device, trained.preprocessing), trained.preprocessing.size
        black = torch.zeros((sizing.batch_size, side, side), dtype=torch.uint8, device=device)
        with torch.inference_mode():
            network(trained.preprocessing.normalise(black))
        _finish(device)
        return cls(trained.architecture, network, trained.preprocessing, data, spec.split, device, sizing)

    def batches(self) -> Iterator[Batch]:
        """Yield all patches in batches, decoded as an extraction decodes them."""
        patches = (pair for shard in self.data.shards(self.split) for pair in self.data.stream(shard))
        decoder = device_decoder(self.preprocessing.size, self.device)
        return read_batches(patches, self.preprocessing, self.sizing.batch_size, decoder)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
