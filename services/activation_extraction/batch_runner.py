"""Runs a network on batches, one after the other or several in parallel, and adds the maps of its layers to tallies."""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Protocol

import torch
from torch import Tensor, nn

from services.activation_extraction.tally import require_finite
from services.common.errors import InvalidInput, JobStopped
from services.imaging.capture import hook_layers, require_captured
from services.imaging.prefetch import work_ahead
from services.imaging.preprocessing import Batch, Preprocessing
from services.imaging.sharing import copy_sharing_weights

AddMaps = Callable[[str, Tensor, Tensor], None]
"""Receives the name of a layer, its (batch, units, height, width) maps, and the (batch,) ids of the patches."""

KeepLogits = Callable[[Tensor, Tensor], None]
"""Receives the (batch, classes) logits and the (batch,) ids of the patches. Several threads may call it at a time."""


class MapTally(Protocol):
    """What the maps of a layer are added to."""

    def add(self, maps: Tensor, ids: Tensor) -> None:
        """Add (batch, units, height, width) maps and the (batch,) ids of their patches. Only one thread calls this at
        a time."""


@dataclass(frozen=True)
class BatchRunner:
    """Runs a network on one batch at a time, and reads the maps of `layers` (names to module paths). Errors name the
    data set as `source`. `keep_logits` receives the output of the network."""

    network: nn.Module
    layers: dict[str, str]
    preprocessing: Preprocessing
    device: torch.device
    source: str = "the data set"
    keep_logits: KeepLogits | None = None

    @torch.inference_mode()
    def run(self, batch: Batch, add: AddMaps) -> None:
        """Run the network on a batch, and pass the maps of each layer to `add`. InvalidInput for a layer that runs more
        than once in a forward, and for an activation that is NaN or infinite."""
        images = self.preprocessing.normalise(batch.pixels.to(self.device, non_blocking=True))
        seen: set[str] = set()
        sums: list[Tensor] = []

        def visit(name: str, maps: Tensor) -> None:
            if name in seen:
                raise InvalidInput(f"layer {name} is a module that one forward calls more than once")
            seen.add(name)
            maps = maps[: len(batch.ids)]
            # A sum is finite only if all its terms are. A maximum would hide negative infinity.
            sums.append(maps.sum())
            add(name, maps, batch.ids)

        with hook_layers(self.network, self.layers, visit):
            logits = self.network(images)
        require_captured(seen, self.layers)
        # Checked once per batch: reading a value from a GPU waits for all its queued work.
        if sums and not torch.isfinite(torch.stack(sums)).all():
            self._report_non_finite(images, batch.ids)
        if self.keep_logits is not None:
            self.keep_logits(logits[: len(batch.ids)], batch.ids)

    def _report_non_finite(self, images: Tensor, ids: Tensor) -> None:
        """Run the batch again, and raise InvalidInput for the first activation that is not finite. There is none if
        only a sum was out of range."""

        def visit(name: str, maps: Tensor) -> None:
            require_finite(maps[: len(ids)], ids, name, self.source)

        with hook_layers(self.network, self.layers, visit):
            self.network(images)


@contextmanager
def run_batches(
    runner: BatchRunner, batches: Iterator[Batch], tallies: Mapping[str, MapTally], at_once: int
) -> Iterator[Iterator[int]]:
    """Within the block, run `at_once` batches in parallel, and yield the number of patches of each batch in order, once
    the maps of the batch are in the tallies. Runs that are unfinished at the end of the block stop at their next
    layer."""
    if at_once == 1:
        yield _run_in_turn(runner, batches, tallies)
        return
    locks = {name: threading.Lock() for name in tallies}
    stopped = threading.Event()
    idle: SimpleQueue[BatchRunner] = SimpleQueue()
    for _ in range(at_once):
        idle.put(replace(runner, network=copy_sharing_weights(runner.network)))

    def add(name: str, maps: Tensor, ids: Tensor) -> None:
        if stopped.is_set():
            raise JobStopped("the result of this batch is not needed any more")
        with locks[name]:
            tallies[name].add(maps, ids)

    def run(batch: Batch) -> int:
        one = idle.get()
        try:
            one.run(batch, add)
        finally:
            idle.put(one)
        return len(batch.ids)

    with _thread_pool(at_once) as pool:
        try:
            yield work_ahead(pool, run, batches, at_once + 1)
        finally:
            stopped.set()


def _run_in_turn(runner: BatchRunner, batches: Iterator[Batch], tallies: Mapping[str, MapTally]) -> Iterator[int]:
    def add(name: str, maps: Tensor, ids: Tensor) -> None:
        tallies[name].add(maps, ids)

    for batch in batches:
        runner.run(batch, add)
        yield len(batch.ids)


@contextmanager
def _thread_pool(count: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of `count` threads, which share torch's threads evenly."""
    all_threads = torch.get_num_threads()
    share = max(1, all_threads // count)
    pool = ThreadPoolExecutor(count, "forward", initializer=torch.set_num_threads, initargs=(share,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(all_threads)  # a thread that starts later uses the number that was set last
