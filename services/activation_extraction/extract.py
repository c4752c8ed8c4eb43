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
from services.imaging.batch_decode import BatchDecoder
from services.imaging.capture import require_captured, visiting
from services.imaging.prefetch import prefetch
from services.imaging.preprocessing import Batch, Preprocessing

SAMPLED = 32
"""Patches of a split whose maps are kept of all units: what a unit does on patches that are not its best."""


BATCH_BYTES = 128 << 20
"""Of a layer's maps on one batch. A batch of larger ones takes fewer patches, so that memory stays bounded."""
GPU_BATCH, GPU_BATCH_BYTES = 256, 1 << 30
"""Patches that keep a GPU at work, and what their maps may take of its memory."""


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
    """How many patches one forward takes, in every shard alike: see `batch_for`, by the largest of the layers' maps."""
    sizes: list[int] = []
    with visiting(network, layers, lambda _name, maps: sizes.append(maps.numel() * maps.element_size())):
        pixels = torch.zeros((1, preprocessing.size, preprocessing.size), dtype=torch.uint8, device=device)
        network(preprocessing.normalise(pixels))
    return batch_for(device.type, batch_size, max(sizes, default=1))


def batch_for(device: str, batch_size: int, map_bytes: int) -> int:
    """How many patches whose maps have so many bytes one forward takes: on a CPU as many as asked for, but no more than
    BATCH_BYTES hold; on a GPU no fewer than asked for, and up to GPU_BATCH while GPU_BATCH_BYTES hold them."""
    if device == "cpu":
        return max(1, min(batch_size, BATCH_BYTES // map_bytes))
    return max(batch_size, min(GPU_BATCH, GPU_BATCH_BYTES // map_bytes))


def read_batches(
    patches: Iterator[tuple[int, bytes]],
    preprocessing: Preprocessing,
    batch_size: int,
    decoder: BatchDecoder | None = None,
) -> Iterator[Batch]:
    """Batches of patches as (patch id, encoded bytes), decoded ahead, by a `decoder` of many at a time where it takes
    them. Labels are not needed here and left empty.

    The last batch is filled with black images up to `batch_size`, beyond its ids: convolutions choose their kernels by
    the shape of the batch, and a patch must give the same bits whatever shard it lies in.
    """

    def decode(chunk: list[tuple[int, bytes]]) -> Batch:
        ids = torch.tensor([patch_id for patch_id, _ in chunk])
        pixels = decoder.decode([image for _, image in chunk]) if decoder is not None else None
        if pixels is not None:
            filled = nn.functional.pad(pixels, (0, 0, 0, 0, 0, batch_size - len(chunk)))
        else:
            alone = [preprocessing.pixels(image, f"patch {patch_id}") for patch_id, image in chunk]
            filled = torch.from_numpy(preprocessing.stack(alone, batch_size))
        return Batch(ids, torch.empty(0, dtype=torch.int64), filled)

    chunks = iter(lambda: list(islice(patches, batch_size)), [])
    return prefetch(decode, chunks)
