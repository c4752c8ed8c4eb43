"""Reading what layers put out while a network runs, without touching the network."""

import math
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import SwinTransformer

from services.common.errors import InvalidInput


@contextmanager
def visiting(network: nn.Module, layers: Mapping[str, str], visit: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Within the block each forward calls `visit` with the name and the (batch, units, height, width) output of each
    layer, as soon as there is one: what is not copied then may be overwritten, by a ReLU in place say.

    `layers` maps names to module paths. Every hook is gone when the block ends. InvalidInput when a layer's output is
    no map: neither B x C x H x W nor B x T x C tokens (see `as_map`).
    """
    last = channels_last_maps(network)
    handles = [
        network.get_submodule(path).register_forward_hook(_visitor(visit, name, last)) for name, path in layers.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def capture(network: nn.Module, layers: Mapping[str, str]) -> Iterator[dict[str, Tensor]]:
    """Within the block each forward fills the yielded dict with a copy of the output of each layer (see `visiting`)."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str, maps: Tensor) -> None:
        # A copy: a ReLU that follows may work in place, and the original reads conv layers before it.
        outputs[name] = maps.clone(memory_format=torch.preserve_format)

    with visiting(network, layers, keep):
        yield outputs


def check_layers(network: nn.Module, layers: Mapping[str, str], size: int) -> None:
    """InvalidInput names a layer that puts out no map when a network sees an image of `size` x `size` pixels, or says
    that the network takes none of that size."""
    images = torch.zeros(2, 3, size, size, device=next(network.parameters()).device)
    with capture(network, layers) as acts, torch.inference_mode():
        try:
            network.eval()(images)
        except (RuntimeError, AssertionError) as error:  # timm asserts its sizes
            raise InvalidInput(
                f"a {type(network).__name__} takes no images of {size} x {size} pixels: {error}"
            ) from error
    require_captured(acts, layers)


def require_captured(acts: Container[str], layers: Mapping[str, str]) -> None:
    """InvalidInput names a layer that a forward did not come through."""
    for name in layers:
        if name not in acts:
            raise InvalidInput(f"layer {name} is a module that the network's forward never calls")


def channels_last_maps(network: nn.Module) -> bool:
    """Whether a network's layers put out B x H x W x C: torchvision's Swin and those that timm says do."""
    return isinstance(network, SwinTransformer) or getattr(network, "output_fmt", None) == "NHWC"


def _visitor(visit: Callable[[str, Tensor], None], name: str, channels_last: bool) -> Any:
    def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
        visit(name, as_map(output, name, channels_last))

    return hook


def as_map(output: Any, name: str, channels_last: bool = False) -> Tensor:
    """A layer's output as (batch, units, height, width); `channels_last` says that its last axis is that of the units.

    Tokens become a map where they form a square, without the class token before them, which has no place; any other
    number of tokens T becomes T x 1.
    """
    if isinstance(output, Tensor) and output.dim() == 4:
        return output.permute(0, 3, 1, 2) if channels_last else output
    if isinstance(output, Tensor) and output.dim() == 3:
        tokens = output.transpose(1, 2)
        batch, units, count = tokens.shape
        side = math.isqrt(count)
        if side**2 == count:
            return tokens.reshape(batch, units, side, side)
        if side**2 == count - 1:
            return tokens[:, :, 1:].reshape(batch, units, side, side)
        return tokens[:, :, :, None]
    found = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
    raise InvalidInput(f"layer {name} puts out {found}; expected B x C x H x W, or B x T x C")
