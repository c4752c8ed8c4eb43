"""What the extraction service's child process does: extract a shard, merge all shards."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from torch import Tensor

from services.activation_extraction.extract import BatchSizing, TallyOptions, extract, read_batches
from services.activation_extraction.layer_results import BUCKET, LayerProperties, Store, put_tensors, store_layer
from services.activation_extraction.matrices import Matrices
from services.activation_extraction.merge_progress import MergeProgress
from services.activation_extraction.network import open_network
from services.common.blobs import ObjectRef, open_blobs
from services.common.machine.memory import give_back_memory
from services.common.work.jobs import Job
from services.imaging.architectures import resolve_layers
from services.imaging.batch_decode import device_decoder
from services.imaging.dataset import Dataset, fetch_object
from services.imaging.devices import choose_device
from services.imaging.manifests import ExtractedLayer, ExtractionManifest, NetworkRef, put_content
from services.imaging.tensors import local_tensors

AT_A_TIME = 2
"""Layers that are finished or merged at once; each merge takes the memory of the layer's top state twice."""


def extract_shard(
    job: Job,
    *,
    blobs_url: str,
    scratch: str,
    extraction_id: str,
    dataset: dict[str, Any],
    checkpoint: dict[str, Any],
    split: str,
    shard: int,
    layers: list[str],
    top_k: int,
    batch_size: int,
    device: str,
) -> dict[str, Any]:
    """Store what one shard gives: `state`, which is merged, and `maxima`, a matrix a layer, which stays as it is."""
    give_back_memory()
    blobs, folder = open_blobs(blobs_url), Path(scratch)
    data = Dataset.open(blobs, ObjectRef.model_validate(dataset))
    where = choose_device(device)
    manifest, network = open_network(blobs, ObjectRef.model_validate(checkpoint), str(where))
    part = data.shards(split)[shard]
    modules = resolve_layers(manifest.architecture, network, layers)
    pace, size = BatchSizing.of(network, batch_size, where, manifest.preprocessing), manifest.preprocessing.size

    def on_patches(done: int) -> None:
        job.report(done=done)
        job.stop_if_requested()

    tallies = extract(
        network,
        modules,
        read_batches(data.stream(part), manifest.preprocessing, pace.batch_size, device_decoder(size, where)),
        TallyOptions.of(top_k, data.ids(split)),
        where,
        manifest.preprocessing,
        on_patches,
        source=data.manifest.name,
        at_once=pace.at_once,
    )
    key = f"extractions/{extraction_id}/shards/{shard:05d}"

    def finish(name: str) -> tuple[ObjectRef, dict[str, Tensor]]:
        maxima = put_tensors(blobs, f"{key}/{name}/maxima.safetensors", tallies[name].matrix(), folder)
        return maxima, {f"{name}/{part}": value for part, value in tallies[name].state_dict().items()}

    with ThreadPoolExecutor(AT_A_TIME, "finish") as pool:
        finished = dict(zip(tallies, pool.map(finish, tallies), strict=True))
    state = {part: value for _, parts in finished.values() for part, value in parts.items()}
    stored = put_tensors(blobs, f"{key}.safetensors", state, folder)
    return {
        "state": stored.model_dump(),
        "maxima": {name: maxima.model_dump() for name, (maxima, _) in finished.items()},
    }


def merge_extraction(
    job: Job,
    *,
    blobs_url: str,
    scratch: str,
    extraction_id: str,
    dataset: dict[str, Any],
    checkpoint: dict[str, Any],
    split: str,
    shards: list[dict[str, Any]],
    layers: list[str],
    top_k: int,
) -> dict[str, Any]:
    """Merge what all shards gave, rank the units, write the manifest and return a reference to it."""
    give_back_memory()
    blobs, folder = open_blobs(blobs_url), Path(scratch)
    dataset_ref, checkpoint_ref = ObjectRef.model_validate(dataset), ObjectRef.model_validate(checkpoint)
    data = Dataset.open(blobs, dataset_ref)
    trained, network = open_network(blobs, checkpoint_ref, "cpu")
    chosen = resolve_layers(trained.architecture, network, layers)
    told = MergeProgress(job)
    states = []
    for shard in shards:
        states.append(local_tensors(fetch_object(blobs, ObjectRef.model_validate(shard["state"]), folder)))
        told.alive()

    def ask(name: str) -> LayerProperties:
        return LayerProperties.of(
            network, chosen[name], states[0].shape(f"{name}/values")[0], trained.preprocessing.size
        )

    def merge(name: str, asked: LayerProperties) -> ExtractedLayer:
        parts = [ObjectRef.model_validate(shard["maxima"][name]) for shard in shards]
        matrices = Matrices(blobs, parts, folder, told.alive)
        store = Store(blobs, f"extractions/{extraction_id}/{name}", folder, told.alive)
        labels, classes = data.labels[matrices.ids], len(trained.classes)
        return store_layer(store, name, chosen[name], states, matrices, labels, classes, top_k, asked)

    results = []
    # Most of it is hashing, sorting and writing, which let go of the interpreter's lock.
    pool = ThreadPoolExecutor(AT_A_TIME, "merge")
    try:
        # The network is asked by this thread alone, of one layer while those before it are merged.
        for result in pool.map(merge, chosen, map(ask, chosen)):
            results.append(result)
            told.layer_done()
            job.stop_if_requested()
    finally:
        pool.shutdown(cancel_futures=True)  # what is not merged yet is not wanted when the job leaves
    patches = data.manifest.splits[split]
    manifest = ExtractionManifest(
        extraction_id=extraction_id,
        network=NetworkRef(
            architecture=trained.architecture,
            classes=trained.classes,
            run_id=trained.run_id,
            checkpoint_id=trained.checkpoint_id,
            checkpoint=checkpoint_ref,
        ),
        image_size=trained.preprocessing.size,
        dataset=dataset_ref,
        split=split,
        patches=patches,
        top_k=min(top_k, patches),
        layers=tuple(results),
    )
    body = manifest.model_dump_json(indent=1).encode()
    return put_content(blobs, BUCKET, f"extractions/{extraction_id}/manifest.json", body).model_dump()
