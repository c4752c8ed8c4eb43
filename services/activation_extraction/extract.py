"""One decode and one forward a patch, for all layers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from services.activation_extraction.histogram import places_of
from services.activation_extraction.tally import LayerTally, require_finite
from services.common.errors import InvalidInput
from services.imaging.capture import require_captured, visiting
from services.imaging.prefetch import prefetch
from services.imaging.preprocessing import Batch, Preprocessing

SAMPLED = 32
"""Patches of a split whose maps are kept of all units: what a unit does on patches that are not its best."""


BATCH_BYTES = 128 << 20
"""Of a layer's maps on one batch. A batch of larger ones takes fewer patches, so that memory stays bounded."""


@dataclass(frozen=True)
class Wish:
    """What is kept of a split: top patches a unit, places a map that are counted, and the ids of the sample."""

    top_k: int
    places: int
    sampled: frozenset[int]

    @classmethod
    def of(cls, top_k: int, ids: NDArray[np.int64]) -> "Wish":
        """For a split of these patches, in order; however it is cut into shards, all ask for the same."""
        drawn = np.random.default_rng(0).choice(ids, min(SAMPLED, len(ids)), replace=False)
        return cls(top_k, places_of(len(ids)), frozenset(drawn.tolist()))


@torch.inference_mode()
def extract(
    network: nn.Module,
    layers: dict[str, str],
    batches: Iterator[Batch],
    wish: Wish,
    device: torch.device,
    preprocessing: Preprocessing,
    on_patches: Callable[[int], None] = lambda _done: None,
    source: str = "the data set",
) -> dict[str, LayerTally]:
    """One forward a patch for all layers; returns what was kept of each. InvalidInput for NaN or infinity names patch
    and layer."""
    tallies = {name: LayerTally(wish.top_k, wish.places, wish.sampled) for name in layers}
    met: set[str] = set()
    sums: list[Tensor] = []
    looking = False
    done = 0

    def visit(name: str, maps: Tensor) -> None:
        maps = maps[: len(batch.ids)]
        if looking:
            require_finite(maps, batch.ids, name, source)
            return
        if name in met:
            raise InvalidInput(f"layer {name} is a module that one forward calls more than once")
        met.add(name)
        # A sum is no number if anything in it is none: infinity below zero too, which a maximum would hide.
        sums.append(maps.sum())
        tallies[name].add(maps, batch.ids)

    with visiting(network, layers, visit):
        for batch in batches:
            met.clear()
            sums.clear()
            images = preprocessing.normalise(batch.pixels.to(device, non_blocking=True))
            network(images)
            require_captured(met, layers)
            # Asked once a batch: an answer of a GPU takes as long as all that it still has to do.
            if not torch.isfinite(torch.stack(sums)).all():
                looking = True  # a sum too large for its range is no fault
                network(images)
                looking = False
            done += len(batch.ids)
            on_patches(done)
    return tallies


@torch.inference_mode()
def fitting_batch(
    network: nn.Module, layers: dict[str, str], batch_size: int, device: torch.device, preprocessing: Preprocessing
) -> int:
    """How many patches one forward takes: as many as asked for; on a CPU no more than keep the largest of the layers'
    maps within BATCH_BYTES. Every shard finds the same."""
    if device.type != "cpu":
        return batch_size
    sizes: list[int] = []
    with visiting(network, layers, lambda _name, maps: sizes.append(maps.numel() * maps.element_size())):
        pixels = torch.zeros((1, preprocessing.size, preprocessing.size), dtype=torch.uint8, device=device)
        network(preprocessing.normalise(pixels))
    return max(1, min(batch_size, BATCH_BYTES // max(sizes, default=1)))


def read_batches(
    patches: Iterator[tuple[int, bytes]], preprocessing: Preprocessing, batch_size: int
) -> Iterator[Batch]:
    """Batches of patches as (patch id, encoded bytes), decoded ahead. Labels are not needed here and left empty.

    The last batch is filled with black images up to `batch_size`, beyond its ids: convolutions choose their kernels by
    the shape of the batch, and a patch must give the same bits whatever shard it lies in.
    """

    def decode(chunk: list[tuple[int, bytes]]) -> Batch:
        pixels = preprocessing.stack(
            [preprocessing.pixels(image, f"patch {patch_id}") for patch_id, image in chunk], batch_size
        )
        ids = torch.tensor([patch_id for patch_id, _ in chunk])
        return Batch(ids, torch.empty(0, dtype=torch.int64), torch.from_numpy(pixels))

    chunks = iter(lambda: list(islice(patches, batch_size)), [])
    return prefetch(decode, chunks)
