"""One decode and one forward a patch, for all layers."""

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from services.activation_extraction.topk import TopK, require_finite
from services.imaging.capture import capture, require_captured
from services.imaging.prefetch import prefetch
from services.imaging.preprocessing import Batch, Preprocessing


@torch.inference_mode()
def extract(
    network: nn.Module,
    layers: dict[str, str],
    batches: Iterator[Batch],
    top_k: int,
    device: torch.device,
    preprocessing: Preprocessing,
    on_patches: Callable[[int], None] = lambda _done: None,
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
    """Batches of patches as (patch id, encoded bytes), decoded ahead. Labels are not needed here and left empty.

    The last batch is filled with black images up to `batch_size`, beyond its ids: convolutions choose their kernels by
    the shape of the batch, and a patch must give the same bits whatever shard it lies in.
    """

    def decode(chunk: list[tuple[int, bytes]]) -> Batch:
        pixels = np.zeros((batch_size, preprocessing.size, preprocessing.size), dtype=np.uint8)
        for row, (patch_id, image) in enumerate(chunk):
            pixels[row] = preprocessing.pixels(image, f"patch {patch_id}")
        ids = torch.tensor([patch_id for patch_id, _ in chunk])
        return Batch(ids, torch.empty(0, dtype=torch.int64), torch.from_numpy(pixels))

    chunks = iter(lambda: list(islice(patches, batch_size)), [])
    return prefetch(decode, chunks)
