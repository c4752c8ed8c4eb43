"""Runs the network on the tiles of a mammogram, once each, and keeps what an explanation needs of every tile."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from services.activation_extraction.batch_runner import BatchRunner, run_batches
from services.activation_extraction.batch_sizing import BatchSizing
from services.activation_extraction.explanations.tiles import Tiles
from services.activation_extraction.topk import as_half
from services.common.errors import InvalidInput
from services.imaging.prefetch import prefetch
from services.imaging.preprocessing import Batch, Preprocessing

MOST_MAP_BYTES = 2 << 30
"""Most bytes of the maps of all units on all tiles, in float16."""


@dataclass(frozen=True)
class TileActivations:
    """What the network computes on the tiles: (tiles, classes) `logits`, and of one layer the (tiles, units) `maxima`
    of its maps, and the (tiles, units, height, width) `maps` in float16. All are on the CPU."""

    logits: Tensor
    maxima: Tensor
    maps: Tensor


def run_tiles(
    network: nn.Module,
    layer: tuple[str, str],
    preprocessing: Preprocessing,
    tiles: Tiles,
    batch_size: int,
    on_tiles: Callable[[int], None] = lambda _done: None,
) -> TileActivations:
    """Run the network on every tile. `layer` is the name and the module path of the layer that is read. `on_tiles`
    receives the number of tiles that are done. InvalidInput if the maps of the layer are too large to keep, or contain
    NaN or infinity."""
    device = next(network.parameters()).device
    sizing = BatchSizing.of(network, batch_size, device, preprocessing)
    count, (name, module) = len(tiles.boxes), layer
    kept = _Kept(count, name)
    runner = BatchRunner(network, {name: module}, preprocessing, device, "the mammogram", kept.keep_logits)
    batches = read_tiles(tiles, preprocessing.size, balanced(count, sizing))
    done = 0
    with run_batches(runner, batches, {name: kept}, sizing.at_once) as finished:
        for patches in finished:
            done += patches
            on_tiles(done)
    return kept.activations()


def balanced(count: int, sizing: BatchSizing) -> int:
    """The size of batches of nearly equal size, whose number is a multiple of those that run in parallel."""
    batches = -(-count // sizing.batch_size)
    batches = -(-batches // sizing.at_once) * sizing.at_once
    return -(-count // batches)


def read_tiles(tiles: Tiles, size: int, batch_size: int) -> Iterator[Batch]:
    """Resize the tiles into batches, ahead of the network. Ids are the numbers of the tiles; there are no labels."""

    def read(first: int) -> Batch:
        last = min(first + batch_size, len(tiles.boxes))
        pixels = torch.from_numpy(tiles.pixels(first, last, size))
        return Batch(torch.arange(first, last), torch.empty(0, dtype=torch.int64), pixels)

    return prefetch(read, range(0, len(tiles.boxes), batch_size))


class _Kept:
    """Tensors for all tiles, which fill up batch by batch, in any order."""

    def __init__(self, tiles: int, layer: str) -> None:
        self._tiles, self._layer = tiles, layer
        self._logits, self._layer_outputs = dict[int, Tensor](), dict[str, Tensor]()
        self._lock = threading.Lock()

    def keep_logits(self, logits: Tensor, ids: Tensor) -> None:
        """Keep the logits of a batch."""
        rows = logits.float().cpu()
        with self._lock:
            self._logits.update(zip(ids.tolist(), rows, strict=True))

    def add(self, maps: Tensor, ids: Tensor) -> None:
        """Keep the maps of a batch, with their maxima."""
        if not self._layer_outputs:
            self._allocate(maps.shape[1:])
        outputs = self._layer_outputs
        outputs["maps"][ids] = as_half(maps).cpu()
        outputs["maxima"][ids] = maps.amax((2, 3)).float().cpu()

    def activations(self) -> TileActivations:
        """Everything that was kept."""
        logits = torch.stack([self._logits[number] for number in range(self._tiles)])
        return TileActivations(logits=logits, **self._layer_outputs)

    def _allocate(self, shape: torch.Size) -> None:
        units = shape[0]
        size = self._tiles * shape.numel() * torch.float16.itemsize
        if size > MOST_MAP_BYTES:
            raise InvalidInput(
                f"the maps of layer {self._layer} on {self._tiles} tiles have {size} bytes; at most {MOST_MAP_BYTES} "
                "are kept: explain with a deeper layer, or with larger tiles"
            )
        self._layer_outputs = {
            "maps": torch.empty(self._tiles, *shape, dtype=torch.float16),
            "maxima": torch.empty(self._tiles, units),
        }
