"""What the extraction service's child process does: extract a shard, merge all shards."""

from functools import lru_cache
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from services.activation_extraction.extract import extract, read_batches
from services.activation_extraction.layer_results import BUCKET, store_layer
from services.activation_extraction.topk import merge_states
from services.common.blobs import ObjectRef, open_blobs
from services.common.blobs.port import read_verified
from services.common.jobs import Job
from services.imaging.architectures import choose_device, resolve_layers
from services.imaging.checkpoint import CheckpointManifest, load_network, open_checkpoint
from services.imaging.dataset import Dataset
from services.imaging.manifests import (
    ExtractionManifest,
    NetworkRef,
    put_content,
)


def extract_shard(
    job: Job,
    *,
    blobs_url: str,
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
    """Store the state of one shard and return a reference to it."""
    blobs = open_blobs(blobs_url)
    data = Dataset.open(blobs, ObjectRef.model_validate(dataset))
    where = choose_device(device)
    manifest, network = _open_network(blobs_url, ObjectRef.model_validate(checkpoint), str(where))
    patches = data.stream(data.shards(split)[shard])

    def on_patches(done: int) -> None:
        job.report(done=done)
        job.leave_if_told()

    state = extract(
        network,
        resolve_layers(manifest.architecture, network, layers),
        read_batches(patches, manifest.preprocessing, batch_size),
        top_k,
        where,
        manifest.preprocessing,
        on_patches,
        source=data.manifest.name,
    )
    ref = put_content(blobs, BUCKET, f"extractions/{extraction_id}/shards/{shard:05d}.safetensors", save_tensors(state))
    return ref.model_dump()


def merge_extraction(
    job: Job,
    *,
    blobs_url: str,
    extraction_id: str,
    dataset: dict[str, Any],
    checkpoint: dict[str, Any],
    split: str,
    shards: list[dict[str, Any]],
    layers: list[str],
    top_k: int,
) -> dict[str, Any]:
    """Merge the states of all shards, rank the units, write the manifest and return a reference to it."""
    blobs = open_blobs(blobs_url)
    dataset_ref, checkpoint_ref = ObjectRef.model_validate(dataset), ObjectRef.model_validate(checkpoint)
    data = Dataset.open(blobs, dataset_ref)
    trained, network = _open_network(blobs_url, checkpoint_ref, "cpu")
    states = [load_tensors(read_verified(blobs, ObjectRef.model_validate(shard))) for shard in shards]
    ids, order = torch.cat([state["ids"] for state in states]).sort()
    results = []
    for done, (name, module) in enumerate(resolve_layers(trained.architecture, network, layers).items(), 1):
        maxima = torch.cat([state[f"{name}/maxima"] for state in states])[order].numpy()
        parts = [{key: state[f"{name}/{key}"] for key in ("values", "ids", "positions", "maps")} for state in states]
        results.append(
            store_layer(
                blobs,
                f"extractions/{extraction_id}/{name}",
                name,
                module,
                merge_states(parts, top_k),
                maxima,
                data.labels[ids.numpy()],
                network,
                trained.preprocessing.size,
                len(trained.classes),
            )
        )
        job.report(done=done)
        job.leave_if_told()
    manifest = ExtractionManifest(
        extraction_id=extraction_id,
        network=NetworkRef(
            architecture=trained.architecture,
            classes=trained.classes,
            run_id=trained.run_id,
            checkpoint_id=trained.checkpoint_id,
            checkpoint=checkpoint_ref,
        ),
        dataset=dataset_ref,
        split=split,
        patches=len(ids),
        top_k=min(top_k, len(ids)),
        layers=tuple(results),
    )
    body = manifest.model_dump_json(indent=1).encode()
    return put_content(blobs, BUCKET, f"extractions/{extraction_id}/manifest.json", body).model_dump()


@lru_cache(maxsize=1)
def _open_network(blobs_url: str, checkpoint: ObjectRef, device: str) -> tuple[CheckpointManifest, nn.Module]:
    """The network of a checkpoint, kept from one job to the next: shards of one extraction share it."""
    blobs = open_blobs(blobs_url)
    manifest = open_checkpoint(blobs, checkpoint)
    return manifest, load_network(blobs, manifest).to(torch.device(device))
