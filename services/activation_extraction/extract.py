"""One decode and one forward a patch, for all layers."""

import copy
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from queue import SimpleQueue

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from services.activation_extraction.histogram import places_of
from services.activation_extraction.tally import LayerTally, require_finite
from services.common.errors import InvalidInput
from services.imaging.batch_decode import BatchDecoder
from services.imaging.capture import require_captured, visiting
from services.imaging.prefetch import prefetch, work_ahead
from services.imaging.preprocessing import Batch, Preprocessing

SAMPLED = 32
"""Patches of a split whose maps are kept of all units: what a unit does on patches that are not its best."""


AT_ONCE = 4
BATCH_BYTES = 64 << 20
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


def extract(
    network: nn.Module,
    layers: dict[str, str],
    batches: Iterator[Batch],
    wish: Wish,
    device: torch.device,
    preprocessing: Preprocessing,
    on_patches: Callable[[int], None] = lambda _done: None,
    source: str = "the data set",
    at_once: int = 0,
) -> dict[str, LayerTally]:
    """One forward a patch for all layers; returns what was kept of each. InvalidInput for NaN or infinity names patch
    and layer. `at_once` batches are forwarded beside each other; 0 takes as many as suit the device."""
    tallies = {name: LayerTally(wish.top_k, wish.places, wish.sampled) for name in layers}
    locks = {name: threading.Lock() for name in layers}

    def keep(name: str, maps: Tensor, ids: Tensor) -> None:
        with locks[name]:
            tallies[name].add(maps, ids)

    at_once = at_once or forwards_at_once(device)
    free: SimpleQueue[_Looker] = SimpleQueue()
    for _ in range(at_once):
        free.put(_Looker(_sharing_weights(network) if at_once > 1 else network, layers, preprocessing, device, source))

    def look(batch: Batch) -> int:
        looker = free.get()
        try:
            looker.look(batch, keep)
        finally:
            free.put(looker)
        return len(batch.ids)

    done = 0
    with _threads(at_once) as pool:
        for count in work_ahead(pool, look, batches, at_once + 1) if pool is not None else map(look, batches):
            done += count
            on_patches(done)
    return tallies


def forwards_at_once(device: torch.device) -> int:
    """How many batches are forwarded beside each other: one on a GPU; on a CPU as many as torch has threads, up to
    AT_ONCE, since two forwards of one thread each take less time than two of two threads after each other."""
    return min(AT_ONCE, torch.get_num_threads()) if device.type == "cpu" else 1


@contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor | None]:
    """A pool of so many threads, which share torch's threads evenly; None where one is enough."""
    if count == 1:
        yield None
        return
    all_threads = torch.get_num_threads()
    share = max(1, all_threads // count)
    pool = ThreadPoolExecutor(count, "forward", initializer=torch.set_num_threads, initargs=(share,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(all_threads)  # threads that begin later go by what was set last


def _sharing_weights(network: nn.Module) -> nn.Module:
    """A network of the same weights, whose modules take hooks of their own."""
    weights = (*network.parameters(), *network.buffers())
    return copy.deepcopy(network, {id(one): one for one in weights})


class _Looker:
    """One network that looks at one batch at a time."""

    def __init__(
        self,
        network: nn.Module,
        layers: dict[str, str],
        preprocessing: Preprocessing,
        device: torch.device,
        source: str,
    ) -> None:
        self._network, self._layers, self._preprocessing = network, layers, preprocessing
        self._device, self._source = device, source

    @torch.inference_mode()
    def look(self, batch: Batch, keep: Callable[[str, Tensor, Tensor], None]) -> None:
        """Forward a batch and have what each layer puts out be kept. InvalidInput as `extract`."""
        images = self._preprocessing.normalise(batch.pixels.to(self._device, non_blocking=True))
        met: set[str] = set()
        sums: list[Tensor] = []

        def visit(name: str, maps: Tensor) -> None:
            if name in met:
                raise InvalidInput(f"layer {name} is a module that one forward calls more than once")
            met.add(name)
            maps = maps[: len(batch.ids)]
            # A sum is no number if anything in it is none: infinity below zero too, which a maximum would hide.
            sums.append(maps.sum())
            keep(name, maps, batch.ids)

        with visiting(self._network, self._layers, visit):
            self._network(images)
        require_captured(met, self._layers)
        # Asked once a batch: an answer of a GPU takes as long as all that it still has to do.
        if not torch.isfinite(torch.stack(sums)).all():
            self._name_fault(images, batch.ids)

    def _name_fault(self, images: Tensor, ids: Tensor) -> None:
        """Forward a batch again and name what is no number in it. A sum beyond its range alone is no fault."""

        def visit(name: str, maps: Tensor) -> None:
            require_finite(maps[: len(ids)], ids, name, self._source)

        with visiting(self._network, self._layers, visit):
            self._network(images)


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
