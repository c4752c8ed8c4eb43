"""Reading what layers put out while a network runs, without touching the network."""

import math
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import SwinTransformer

from services.common.errors import InvalidInput
from services.imaging.architectures import input_channels


@contextmanager
def hook_layers(network: nn.Module, layers: Mapping[str, str], visit: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Within the block each forward calls `visit` with the name and the (batch, units, height, width) output of each
    layer, as soon as there is one: what is not copied then may be overwritten, by a ReLU in place say.

    `layers` maps names to module paths. Every hook is gone when the block ends. InvalidInput when a layer's output is
    no map: neither B x C x H x W nor B x T x C tokens (see `as_map`).
    """
    reader = MapReader(network)
    handles = [network.register_forward_pre_hook(reader.before_forward)]
    handles += [
        network.get_submodule(path).register_forward_hook(_visitor(visit, name, path, reader))
        for name, path in layers.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def capture(network: nn.Module, layers: Mapping[str, str]) -> Iterator[dict[str, Tensor]]:
    """Within the block each forward fills the yielded dict with a copy of the output of each layer (see `hook_layers`)."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str, maps: Tensor) -> None:
        # A copy: a ReLU that follows may work in place, and the original reads conv layers before it.
        outputs[name] = maps.clone(memory_format=torch.preserve_format)

    with hook_layers(network, layers, keep):
        yield outputs


def check_layers(network: nn.Module, layers: Mapping[str, str], size: int) -> None:
    """InvalidInput names a layer that does not put out just one map when a network sees an image of `size` x `size`
    pixels, or says that the network takes none of that size."""
    calls = Counter[str]()
    with hook_layers(network, layers, lambda name, _maps: calls.update([name])):
        try_forward(network, size)
    require_captured(calls, layers)
    for name, count in calls.items():
        if count > 1:
            raise InvalidInput(f"layer {name} is a module that one forward calls more than once")


@torch.inference_mode()
def try_forward(network: nn.Module, size: int) -> None:
    """Have a network see two black images of `size` x `size` pixels. InvalidInput says that it takes none of them."""
    images = torch.zeros(2, input_channels(network), size, size, device=next(network.parameters()).device)
    try:
        network.eval()(images)
    except (RuntimeError, AssertionError, ValueError) as error:  # timm asserts its sizes
        raise InvalidInput(f"a {type(network).__name__} takes no images of {size} x {size} pixels: {error}") from error


def require_captured(acts: Container[str], layers: Mapping[str, str]) -> None:
    """InvalidInput names a layer that a forward did not come through."""
    for name in layers:
        if name not in acts:
            raise InvalidInput(f"layer {name} is a module that the network's forward never calls")


def channels_last_maps(network: nn.Module) -> bool:
    """Whether a network's layers put out B x H x W x C: torchvision's Swin and those that timm says do."""
    return isinstance(network, SwinTransformer) or getattr(network, "output_fmt", None) == "NHWC"


@dataclass(frozen=True)
class Tokens:
    """What stands before the tokens of places: `prefix` class, distillation and register tokens, which have no place.
    `grid` is that of the patches, rows and columns, where the network tells it; later layers may have a coarser one."""

    prefix: int = 1
    grid: tuple[int, int] | None = None

    @classmethod
    def of(cls, network: nn.Module) -> "Tokens":
        """Those of a network: what timm says of it, else one class token before a square."""
        prefix = getattr(network, "num_prefix_tokens", 1)
        grid = getattr(getattr(network, "patch_embed", None), "grid_size", None)
        return cls(prefix, (int(grid[0]), int(grid[1])) if isinstance(grid, tuple) and len(grid) == 2 else None)

    def place(self, count: int) -> tuple[int, int, int]:
        """How many of `count` tokens have no place, and rows and columns of the others; T x 1 where they form no
        grid."""
        for skipped in (0, self.prefix):
            shape = self._shape(count - skipped)
            if shape is not None:
                return (skipped, *shape)
        return (0, count, 1)

    def _shape(self, places: int) -> tuple[int, int] | None:
        if places < 1:
            return None
        rows, columns = self.grid or (1, 1)
        scale = math.isqrt(max(places, rows * columns) // min(places, rows * columns))
        if rows != columns and places * scale**2 == rows * columns and rows % scale == 0 == columns % scale:
            return (rows // scale, columns // scale)
        side = math.isqrt(places)
        return (side, side) if side**2 == places else None


def as_map(
    output: Any, name: str, channels_last: bool = False, tokens: Tokens | None = None, square: bool = False
) -> Tensor:
    """A layer's output as (batch, units, height, width); `channels_last` says that its last axis is that of the units,
    unless the network saw `square` images: then the two axes that agree are those of the places.

    Tokens become a map where they form a grid, without those before them that have no place; any other number of
    tokens T becomes T x 1.
    """
    if isinstance(output, Tensor) and output.dim() == 4:
        first, second, third = output.shape[1:]
        if square and len({first, second, third}) == 3:
            raise InvalidInput(f"layer {name} puts out {list(output.shape)} for a square image; expected a square map")
        if square and not first == second == third:
            channels_last = first == second
        return output.permute(0, 3, 1, 2) if channels_last else output
    if isinstance(output, Tensor) and output.dim() == 3:
        batch, count, units = output.shape
        skipped, rows, columns = (tokens or Tokens()).place(count)
        return output[:, skipped:].transpose(1, 2).reshape(batch, units, rows, columns)
    found = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
    raise InvalidInput(f"layer {name} puts out {found}; expected B x C x H x W, or B x T x C")


@dataclass
class MapReader:
    """Turns what modules of a network put out into maps. It sees the images that come in, to know what to expect."""

    network: nn.Module
    images: int = 0
    square: bool = False
    tokens: Tokens = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = Tokens.of(self.network)

    def before_forward(self, _network: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Before a forward."""
        shape = inputs[0].shape
        self.images, self.square = shape[0], len(shape) == 4 and shape[2] == shape[3]

    def read(self, output: Any, name: str, path: str) -> Tensor:
        """The map in a module's output. InvalidInput where there is none."""
        output = self._in_raster(output, name, path)
        maps = as_map(output, name, channels_last_maps(self.network), self.tokens, self.square)
        if len(maps) != self.images:
            raise InvalidInput(f"layer {name} puts out {list(output.shape)} for {self.images} images: windows, no map")
        return maps

    def _in_raster(self, output: Any, name: str, path: str) -> Any:
        """Hiera's blocks have their tokens in the order of its mask units; it can put them back."""
        reroll = getattr(self.network, "reroll", None)
        if reroll is None or not path.startswith("blocks."):
            return output
        block = path.removeprefix("blocks.")
        if not block.isdecimal():
            raise InvalidInput(f"layer {name} is within a block of {type(self.network).__name__}; its blocks are maps")
        return reroll(output, int(block))


def _visitor(visit: Callable[[str, Tensor], None], name: str, path: str, reader: MapReader) -> Any:
    def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
        visit(name, reader.read(output, name, path))

    return hook
