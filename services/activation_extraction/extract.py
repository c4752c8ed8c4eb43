"""One decode and one forward a patch, for all layers."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from services.activation_extraction.histogram import places_of
from services.activation_extraction.tally import LayerTally, require_finite
from services.common.errors import InvalidInput, JobStopped
from services.imaging.batch_decode import BatchDecoder
from services.imaging.capture import hook_layers, require_captured
from services.imaging.prefetch import prefetch, work_ahead
from services.imaging.preprocessing import Batch, Preprocessing
from services.imaging.sharing import copy_sharing_weights

SAMPLED = 32
"""Patches of a split whose maps are kept of all units: what a unit does on patches that are not its best."""


AT_ONCE = 4
"""Batches that are forwarded beside each other on a CPU, at most."""
BATCH_BYTES = 192 << 20
"""Of what a module takes in and puts out for a batch there. Larger networks and images have smaller batches, so that
memory stays bounded."""
GPU_BATCH, GPU_BATCH_BYTES = 256, 2 << 30
"""Patches that keep a GPU at work, and what a module may take in and put out for them."""


@dataclass(frozen=True)
class TallyOptions:
    """What is kept of a split: top patches a unit, places a map that are counted, and the ids of the sample."""

    top_k: int
    places: int
    sampled: frozenset[int]

    @classmethod
    def of(cls, top_k: int, ids: NDArray[np.int64]) -> "TallyOptions":
        """For a split of these patches, in order; however it is cut into shards, all ask for the same."""
        drawn = np.random.default_rng(0).choice(ids, min(SAMPLED, len(ids)), replace=False)
        return cls(top_k, places_of(len(ids)), frozenset(drawn.tolist()))


def extract(
    network: nn.Module,
    layers: dict[str, str],
    batches: Iterator[Batch],
    options: TallyOptions,
    device: torch.device,
    preprocessing: Preprocessing,
    on_patches: Callable[[int], None] = lambda _done: None,
    source: str = "the data set",
    at_once: int = 1,
) -> dict[str, LayerTally]:
    """One forward a patch for all layers; returns what was kept of each. InvalidInput for NaN or infinity names patch
    and layer. `at_once` batches are forwarded beside each other: on a CPU two forwards of one thread each take less
    time than two of two threads after each other."""
    tallies = {name: LayerTally(options.top_k, options.places, options.sampled) for name in layers}
    locks = {name: threading.Lock() for name in layers}

    left = threading.Event()

    def keep(name: str, maps: Tensor, ids: Tensor) -> None:
        if left.is_set():
            raise JobStopped("nobody waits for this batch any more")
        with locks[name]:
            tallies[name].add(maps, ids)

    free: SimpleQueue[_BatchRunner] = SimpleQueue()
    for _ in range(at_once):
        free.put(
            _BatchRunner(copy_sharing_weights(network) if at_once > 1 else network, layers, preprocessing, device, source)
        )

    def look(batch: Batch) -> int:
        looker = free.get()
        try:
            looker.look(batch, keep)
        finally:
            free.put(looker)
        return len(batch.ids)

    done = 0
    with _threads(at_once) as pool:
        try:
            for count in work_ahead(pool, look, batches, at_once + 1) if pool is not None else map(look, batches):
                done += count
                on_patches(done)
        finally:
            left.set()
    return tallies


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


class _BatchRunner:
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

        with hook_layers(self._network, self._layers, visit):
            self._network(images)
        require_captured(met, self._layers)
        # LayerProperties once a batch: an answer of a GPU takes as long as all that it still has to do.
        if sums and not torch.isfinite(torch.stack(sums)).all():
            self._name_fault(images, batch.ids)

    def _name_fault(self, images: Tensor, ids: Tensor) -> None:
        """Forward a batch again and name what is no number in it. A sum beyond its range alone is no fault."""

        def visit(name: str, maps: Tensor) -> None:
            require_finite(maps[: len(ids)], ids, name, self._source)

        with hook_layers(self._network, self._layers, visit):
            self._network(images)


@dataclass(frozen=True)
class BatchSizing:
    """How many patches one forward takes, in every shard alike, and how many forwards go on beside each other."""

    batch_size: int
    at_once: int = 1

    @classmethod
    def of(
        cls, network: nn.Module, batch_size: int, device: torch.device, preprocessing: Preprocessing
    ) -> "BatchSizing":
        """That of a network on a device, for so many patches asked for."""
        step_bytes = _largest_step(network, device, preprocessing)
        return cls.within(device.type, batch_size, step_bytes, torch.get_num_threads())

    @classmethod
    def within(cls, device: str, batch_size: int, step_bytes: int, threads: int) -> "BatchSizing":
        """By the most that a module takes in and puts out of one patch. On a CPU a batch has as many patches as asked
        for, and no more than BATCH_BYTES hold; up to AT_ONCE go beside each other, as many as leave the fewest of
        torch's threads idle, and as few as take no more memory than AT_ONCE such batches. On a GPU it is one batch, of
        GPU_BATCH or what is asked for, and no more than GPU_BATCH_BYTES hold."""
        if device != "cpu":
            return cls(max(1, min(max(batch_size, GPU_BATCH), GPU_BATCH_BYTES // step_bytes)))
        size = max(1, min(batch_size, BATCH_BYTES // step_bytes))
        most = max(1, min(AT_ONCE, threads, AT_ONCE * BATCH_BYTES // (size * step_bytes)))
        return cls(size, max(range(min(2, most), most + 1), key=lambda count: (threads // count * count, count)))


@torch.inference_mode()
def _largest_step(network: nn.Module, device: torch.device, preprocessing: Preprocessing) -> int:
    """Bytes that a module takes in and puts out of one patch: those of the one where it is most."""
    sizes = [1]

    def weigh(_module: nn.Module, inputs: Any, output: Any) -> None:
        sizes.append(sum(one.nbytes for one in (*inputs, output) if isinstance(one, Tensor)))

    handles = [module.register_forward_hook(weigh) for module in network.modules() if not any(module.children())]
    try:
        pixels = torch.zeros((1, preprocessing.size, preprocessing.size), dtype=torch.uint8, device=device)
        network(preprocessing.normalise(pixels))
    finally:
        for handle in handles:
            handle.remove()
    return max(sizes)


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
