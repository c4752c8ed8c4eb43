"""What the child process does for extractions: extract a shard, and merge all shards."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from services.activation_extraction.batch_runner import BatchRunner
from services.activation_extraction.batch_sizing import BatchSizing
from services.activation_extraction.batches import read_batches
from services.activation_extraction.extract import extract
from services.activation_extraction.head import LayerProperties
from services.activation_extraction.layer_results import ShardedLayer, Store, put_tensors, store_layer
from services.activation_extraction.matrices import Matrices
from services.activation_extraction.merge_progress import MergeProgress
from services.activation_extraction.names import BUCKET
from services.activation_extraction.network import open_network
from services.activation_extraction.specs import (
    EXTRACT_SHARD,
    MERGE_EXTRACTION,
    MergeSpec,
    ShardResult,
    ShardSpec,
    ShardState,
)
from services.activation_extraction.tally import LayerTally, TallyOptions
from services.common.blobs import Blobs, ObjectRef, open_blobs
from services.common.machine.memory import return_freed_memory
from services.common.work.jobs import Job
from services.imaging.architectures import resolve_layers
from services.imaging.batch_decode import device_decoder
from services.imaging.checkpoint import CheckpointManifest
from services.imaging.dataset import Dataset, fetch_object
from services.imaging.devices import choose_device
from services.imaging.manifests import ExtractedLayer, ExtractionManifest, NetworkRef, put_content
from services.imaging.tensors import local_tensors

AT_A_TIME = 2
"""Layers that are stored or merged in parallel. Each merge needs twice the memory of the layer's top patches."""


@EXTRACT_SHARD.implements
def extract_shard(job: Job, spec: ShardSpec) -> ShardResult:
    """Extract all layers from the patches of one shard, and store the result."""
    return_freed_memory()
    blobs, device = open_blobs(spec.blobs_url), choose_device(spec.device)
    data = Dataset.open(blobs, spec.dataset)
    manifest, network = open_network(blobs, spec.checkpoint, str(device))
    preprocessing = manifest.preprocessing
    shard = data.shards(spec.split)[spec.shard]
    layers = resolve_layers(manifest.architecture, network, spec.layers)
    sizing = BatchSizing.of(network, spec.batch_size, device, preprocessing)
    decoder = device_decoder(preprocessing.size, device)

    def on_patches(done: int) -> None:
        job.report(done=done)
        job.stop_if_requested()

    tallies = extract(
        BatchRunner(network, layers, preprocessing, device, source=data.manifest.name),
        read_batches(data.stream(shard), preprocessing, sizing.batch_size, decoder),
        TallyOptions.of(spec.top_k, data.ids(spec.split)),
        on_patches,
        sizing.at_once,
    )
    key = f"extractions/{spec.extraction_id}/shards/{spec.shard:05d}"
    return ShardResult(
        patches=shard.last - shard.first + 1, state=_store_shard(blobs, key, tallies, Path(spec.scratch))
    )


def _store_shard(blobs: Blobs, key: str, tallies: dict[str, LayerTally], scratch: Path) -> ShardState:
    def store_maxima(name: str) -> tuple[ObjectRef, dict[str, Tensor]]:
        maxima = put_tensors(blobs, f"{key}/{name}/maxima.safetensors", tallies[name].matrix(), scratch)
        return maxima, {f"{name}/{part}": value for part, value in tallies[name].state_dict().items()}

    with ThreadPoolExecutor(AT_A_TIME, "store") as pool:
        stored = dict(zip(tallies, pool.map(store_maxima, tallies), strict=True))
    state = {part: value for _, parts in stored.values() for part, value in parts.items()}
    return ShardState(
        state=put_tensors(blobs, f"{key}.safetensors", state, scratch),
        maxima={name: maxima for name, (maxima, _) in stored.items()},
    )


@MERGE_EXTRACTION.implements
def merge_extraction(job: Job, spec: MergeSpec) -> ObjectRef:
    """Merge the results of all shards, rank the units, write the manifest, and return a reference to it."""
    return_freed_memory()
    blobs, scratch = open_blobs(spec.blobs_url), Path(spec.scratch)
    data = Dataset.open(blobs, spec.dataset)
    trained, network = open_network(blobs, spec.checkpoint, "cpu")
    modules = resolve_layers(trained.architecture, network, spec.layers)
    progress = MergeProgress(job)
    states = []
    for shard in spec.shards:
        states.append(local_tensors(fetch_object(blobs, shard.state, scratch)))
        progress.heartbeat()

    def measure(name: str) -> LayerProperties:
        units = states[0].shape(f"{name}/values")[0]
        return LayerProperties.of(network, modules[name], units, trained.preprocessing.size)

    def merge(name: str, properties: LayerProperties) -> ExtractedLayer:
        parts = [shard.maxima[name] for shard in spec.shards]
        matrices = Matrices(blobs, parts, scratch, progress.heartbeat)
        store = Store(blobs, f"extractions/{spec.extraction_id}/{name}", scratch, progress.heartbeat)
        labels, classes = data.labels[matrices.ids], len(trained.classes)
        layer = ShardedLayer(name, modules[name], states, matrices, labels, classes)
        return store_layer(store, layer, properties, spec.top_k)

    layers = []
    with _merge_threads() as pool:
        # Only this thread runs the network: it measures a layer while the layers before it are merged.
        for layer in pool.map(merge, modules, map(measure, modules)):
            layers.append(layer)
            progress.layer_done()
            job.stop_if_requested()
    body = _manifest(spec, trained, data, layers).model_dump_json(indent=1).encode()
    return put_content(blobs, BUCKET, f"extractions/{spec.extraction_id}/manifest.json", body)


@contextmanager
def _merge_threads() -> Iterator[ThreadPoolExecutor]:
    """Threads for merges. Most of a merge is hashing, sorting and writing, which release the interpreter lock. Merges
    that have not begun at the end of the block are dropped."""
    pool = ThreadPoolExecutor(AT_A_TIME, "merge")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _manifest(
    spec: MergeSpec, trained: CheckpointManifest, data: Dataset, layers: Sequence[ExtractedLayer]
) -> ExtractionManifest:
    patches = data.manifest.splits[spec.split]
    return ExtractionManifest(
        extraction_id=spec.extraction_id,
        network=NetworkRef(
            architecture=trained.architecture,
            classes=trained.classes,
            run_id=trained.run_id,
            checkpoint_id=trained.checkpoint_id,
            checkpoint=spec.checkpoint,
        ),
        image_size=trained.preprocessing.size,
        dataset=spec.dataset,
        split=spec.split,
        patches=patches,
        top_k=min(spec.top_k, patches),
        layers=tuple(layers),
    )
