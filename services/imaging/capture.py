"""Read the outputs of layers while a network runs, without changing the network."""

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
    """Within the block, each forward calls `visit` with the name and the (batch, units, height, width) output of each
    layer, as soon as the layer has run. `visit` must copy what it needs: an in-place ReLU may overwrite it.

    `layers` maps names to module paths. All hooks are removed when the block ends. InvalidInput if a layer's output is
    not a map: neither B x C x H x W nor B x T x C tokens (see `as_map`).
    """
    reader = MapReader(network)
    handles = [network.register_forward_pre_hook(reader.before_forward)]
    handles += [
        network.get_submodule(path).register_forward_hook(_visit_hook(visit, name, path, reader))
        for name, path in layers.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def capture(network: nn.Module, layers: Mapping[str, str]) -> Iterator[dict[str, Tensor]]:
    """Within the block, each forward puts a copy of each layer's output into the yielded dict (see `hook_layers`)."""
    outputs: dict[str, Tensor] = {}

    def copy(name: str, maps: Tensor) -> None:
        # A ReLU that follows may work in place, and the original reads convolutions before it.
        outputs[name] = maps.clone(memory_format=torch.preserve_format)

    with hook_layers(network, layers, copy):
        yield outputs


def check_layers(network: nn.Module, layers: Mapping[str, str], size: int) -> None:
    """Check that each layer outputs exactly one map for an image of `size` x `size` pixels. InvalidInput names a layer
    that does not, or says that the network does not accept this size."""
    calls = Counter[str]()
    with hook_layers(network, layers, lambda name, _maps: calls.update([name])):
        try_forward(network, size)
    require_captured(calls, layers)
    for name, count in calls.items():
        if count > 1:
            raise InvalidInput(f"layer {name} is a module that one forward calls more than once")


@torch.inference_mode()
def try_forward(network: nn.Module, size: int) -> None:
    """Run a network on two black images of `size` x `size` pixels. InvalidInput if it does not accept this size."""
    images = torch.zeros(2, input_channels(network), size, size, device=next(network.parameters()).device)
    try:
        network.eval()(images)
    except (RuntimeError, AssertionError, ValueError) as error:  # timm asserts its sizes
        raise InvalidInput(
            f"a {type(network).__name__} accepts no images of {size} x {size} pixels: {error}"
        ) from error


def require_captured(acts: Container[str], layers: Mapping[str, str]) -> None:
    """Check that `acts` contains every layer. InvalidInput names a layer that the forward did not call."""
    for name in layers:
        if name not in acts:
            raise InvalidInput(f"layer {name} is a module that the network's forward never calls")


def channels_last_maps(network: nn.Module) -> bool:
    """Return whether layers output B x H x W x C: those of torchvision's Swin, and of networks that timm declares
    so."""
    return isinstance(network, SwinTransformer) or getattr(network, "output_fmt", None) == "NHWC"


@dataclass(frozen=True)
class Tokens:
    """The layout of a transformer's tokens.

    The first `prefix` tokens (class, distillation and register tokens) have no position in the image. `grid` is the
    rows and columns of the other tokens, if the network declares them; later layers may have a coarser grid.
    """

    prefix: int = 1
    grid: tuple[int, int] | None = None

    @classmethod
    def of(cls, network: nn.Module) -> "Tokens":
        """Return the layout that timm declares for a network, else one class token before a square grid."""
        prefix = getattr(network, "num_prefix_tokens", 1)
        grid = getattr(getattr(network, "patch_embed", None), "grid_size", None)
        return cls(prefix, (int(grid[0]), int(grid[1])) if isinstance(grid, tuple) and len(grid) == 2 else None)

    def layout(self, count: int) -> tuple[int, int, int]:
        """Return, for `count` tokens, the number of tokens without a position, and the rows and columns of the others:
        `count` x 1 if they form no grid."""
        for skipped in (0, self.prefix):
            shape = self._grid_of(count - skipped)
            if shape is not None:
                return (skipped, *shape)
        return (0, count, 1)

    def _grid_of(self, tokens: int) -> tuple[int, int] | None:
        if tokens < 1:
            return None
        rows, columns = self.grid or (1, 1)
        scale = math.isqrt(max(tokens, rows * columns) // min(tokens, rows * columns))
        if rows != columns and tokens * scale**2 == rows * columns and rows % scale == 0 == columns % scale:
            return (rows // scale, columns // scale)
        side = math.isqrt(tokens)
        return (side, side) if side**2 == tokens else None


def as_map(
    output: Any, name: str, channels_last: bool = False, tokens: Tokens | None = None, square: bool = False
) -> Tensor:
    """Return a layer's output as (batch, units, height, width).

    `channels_last` says that the units are on the last axis. If the input images were `square`, the two axes of equal
    length are height and width instead. Tokens that form a grid become a map, without the prefix tokens; any other T
    tokens become a T x 1 map. InvalidInput for any other output.
    """
    if isinstance(output, Tensor) and output.dim() == 4:
        first, second, third = output.shape[1:]
        if square and len({first, second, third}) == 3:
            raise InvalidInput(f"layer {name} outputs {list(output.shape)} for a square image; expected a square map")
        if square and not first == second == third:
            channels_last = first == second
        return output.permute(0, 3, 1, 2) if channels_last else output
    if isinstance(output, Tensor) and output.dim() == 3:
        batch, count, units = output.shape
        skipped, rows, columns = (tokens or Tokens()).layout(count)
        return output[:, skipped:].transpose(1, 2).reshape(batch, units, rows, columns)
    found = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
    raise InvalidInput(f"layer {name} outputs {found}; expected B x C x H x W, or B x T x C")


@dataclass
class MapReader:
    """Turns the outputs of a network's modules into maps. It needs the shape of the images to know what to expect."""

    network: nn.Module
    images: int = 0
    square: bool = False
    tokens: Tokens = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = Tokens.of(self.network)

    def before_forward(self, _network: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Record the number and shape of the images, as a forward pre-hook."""
        shape = inputs[0].shape
        self.images, self.square = shape[0], len(shape) == 4 and shape[2] == shape[3]

    def read(self, output: Any, name: str, path: str) -> Tensor:
        """Return the map in a module's output. InvalidInput if the output is not a map."""
        output = self._in_raster(output, name, path)
        maps = as_map(output, name, channels_last_maps(self.network), self.tokens, self.square)
        if len(maps) != self.images:
            raise InvalidInput(
                f"layer {name} outputs {list(output.shape)} for {self.images} images: windows, not a map"
            )
        return maps

    def _in_raster(self, output: Any, name: str, path: str) -> Any:
        """Put Hiera's tokens back into rows: its blocks have them in the order of its mask units."""
        reroll = getattr(self.network, "reroll", None)
        if reroll is None or not path.startswith("blocks."):
            return output
        block = path.removeprefix("blocks.")
        if not block.isdecimal():
            raise InvalidInput(
                f"layer {name} is within a block of {type(self.network).__name__}; only whole blocks output maps"
            )
        return reroll(output, int(block))


def _visit_hook(visit: Callable[[str, Tensor], None], name: str, path: str, reader: MapReader) -> Any:
    def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
        visit(name, reader.read(output, name, path))

    return hook
