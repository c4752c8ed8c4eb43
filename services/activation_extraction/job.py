"""What the extraction service's child process does: extract a shard, merge all shards."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from services.activation_extraction.ranking import rank_by_influence, rank_by_selectivity
from services.activation_extraction.statistics import unit_statistics
from services.activation_extraction.topk import LARGEST_FP16, TopK, merge_states, require_finite
from services.common.blobs import Blobs, ObjectRef, open_blobs
from services.common.blobs.port import read_verified
from services.common.jobs import Job
from services.imaging.architectures import choose_device, head_path, resolve_layers
from services.imaging.capture import capture, require_captured
from services.imaging.checkpoint import CheckpointManifest, load_network, open_checkpoint
from services.imaging.dataset import Dataset
from services.imaging.manifests import (
    RANKING_SCHEMA,
    STATISTICS_SCHEMA,
    ExtractedLayer,
    ExtractionManifest,
    NetworkRef,
    put_content,
    write_table,
)
from services.imaging.preprocessing import Batch, Preprocessing

BUCKET = "activation-extraction"
DECODERS = 2
BATCHES_AHEAD = 4


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
    state = extract(
        network,
        resolve_layers(manifest.architecture, network, layers),
        read_batches(patches, manifest.preprocessing, batch_size),
        top_k,
        where,
        manifest.preprocessing,
        lambda done: job.report(done=done),
        source=data.manifest.name,
    )
    ref = put_content(blobs, BUCKET, f"extractions/{extraction_id}/shards/{shard:05d}.safetensors", save_tensors(state))
    return ref.model_dump()


@torch.inference_mode()
def extract(
    network: nn.Module,
    layers: dict[str, str],
    batches: Iterator[Batch],
    top_k: int,
    device: torch.device,
    preprocessing: Preprocessing,
    on_patches: Any = lambda _done: None,
    source: str = "the data set",
) -> dict[str, Tensor]:
    """One forward a patch for all layers. Returns, by `<layer>/<name>`, the top-k state and the (patches, units) maxima
    in float32, and under `ids` the patch ids of their rows. InvalidInput for NaN or infinity names patch and layer."""
    tops = {name: TopK(top_k) for name in layers}
    maxima: dict[str, list[Tensor]] = {name: [] for name in layers}
    ids: list[Tensor] = []
    with capture(network, layers) as acts:
        for batch in batches:
            network(preprocessing.normalise(batch.pixels.to(device, non_blocking=True)))
            require_captured(acts, layers)
            for name, top in tops.items():
                largest = top.add(acts[name][: len(batch.ids)], batch.ids)
                require_finite(largest, batch.ids, name, source)
                maxima[name].append(largest.float().cpu())
            ids.append(batch.ids)
            on_patches(sum(map(len, ids)))
    state = {"ids": torch.cat(ids)}
    for name, top in tops.items():
        state |= {f"{name}/{part}": value for part, value in top.state_dict().items()}
        state[f"{name}/maxima"] = torch.cat(maxima[name])
    return state


def read_batches(
    patches: Iterator[tuple[int, bytes]], preprocessing: Preprocessing, batch_size: int
) -> Iterator[Batch]:
    """Decode patches in threads, a few batches ahead of the network. Labels are not needed here and left empty.

    The last batch is filled with black images up to `batch_size`, beyond its ids: convolutions choose their kernels by
    the shape of the batch, and a patch must give the same bits whatever shard it lies in.
    """

    def decode(chunk: list[tuple[int, bytes]]) -> Batch:
        pixels = np.zeros((batch_size, preprocessing.size, preprocessing.size), dtype=np.uint8)
        for row, (patch_id, image) in enumerate(chunk):
            pixels[row] = preprocessing.pixels(image, f"patch {patch_id}")
        ids = torch.tensor([patch_id for patch_id, _ in chunk])
        return Batch(ids, torch.empty(0, dtype=torch.int64), torch.from_numpy(pixels))

    with ThreadPoolExecutor(DECODERS, "decode") as pool:
        ahead: deque[Future[Batch]] = deque()
        while chunk := list(islice(patches, batch_size)):
            ahead.append(pool.submit(decode, chunk))
            if len(ahead) > BATCHES_AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


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
            _store_layer(
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


def _store_layer(
    blobs: Blobs,
    folder: str,
    name: str,
    module: str,
    top: dict[str, Tensor],
    maxima: NDArray[np.float32],
    labels: NDArray[np.int64],
    network: nn.Module,
    size: int,
    classes: int,
) -> ExtractedLayer:
    weights = head_weights(network, module, size)
    if weights is None:
        method, ranking = "selectivity", rank_by_selectivity(maxima, labels, classes)
    else:
        method, ranking = "influence", rank_by_influence(maxima, weights)
    statistics = unit_statistics(maxima, labels, classes)
    halved = torch.from_numpy(maxima).clamp(-LARGEST_FP16, LARGEST_FP16).half()
    return ExtractedLayer(
        name=name,
        module=module,
        units=maxima.shape[1],
        top=put_content(blobs, BUCKET, f"{folder}/top.safetensors", save_tensors(top)),
        maxima=put_content(blobs, BUCKET, f"{folder}/maxima.safetensors", save_tensors({"maxima": halved})),
        statistics=put_content(
            blobs, BUCKET, f"{folder}/statistics.parquet", write_table(statistics, STATISTICS_SCHEMA)
        ),
        ranking=put_content(blobs, BUCKET, f"{folder}/ranking.parquet", write_table(ranking, RANKING_SCHEMA)),
        ranking_method=method,
    )


@torch.inference_mode()
def head_weights(network: nn.Module, module: str, size: int) -> NDArray[np.float32] | None:
    """The (classes, units) weights of the last layer where it is linear over the layer's averaged maps; None elsewhere.

    Whether it is, is asked of the network: on a random image the averaged maps through the last layer give its output.
    """
    head = network.get_submodule(head_path(network))
    if not isinstance(head, nn.Linear):
        return None
    image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    with capture(network, {module: module}) as acts:
        logits = network(image)
    pooled = acts[module].mean((2, 3))
    if pooled.shape[1] != head.in_features or not torch.allclose(head(pooled), logits, rtol=1e-3, atol=1e-4):
        return None
    weights: NDArray[np.float32] = head.weight.detach().float().cpu().numpy()
    return weights


@lru_cache(maxsize=1)
def _open_network(blobs_url: str, checkpoint: ObjectRef, device: str) -> tuple[CheckpointManifest, nn.Module]:
    """The network of a checkpoint, kept from one job to the next: shards of one extraction share it."""
    blobs = open_blobs(blobs_url)
    manifest = open_checkpoint(blobs, checkpoint)
    return manifest, load_network(blobs, manifest).to(torch.device(device))
