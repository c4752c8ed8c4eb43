"""The axis of the units in a layer's output, before it is read as a map."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from services.imaging.architectures import input_channels
from services.imaging.capture import MapReader, require_captured


def trial_images(network: nn.Module, count: int, size: int) -> Tensor:
    """Random images of `size` x `size` pixels as input of a network, always the same."""
    parameter = next(network.parameters())
    seeded = torch.Generator().manual_seed(0)
    return torch.randn(count, input_channels(network), size, size, generator=seeded).to(parameter)


@torch.no_grad()
def unit_axes(network: nn.Module, layers: Mapping[str, str], images: Tensor) -> dict[str, int]:
    """The axis of the units of each layer, which one forward shows. InvalidInput for a layer without a map, or without
    output."""
    reader, axes = MapReader(network), dict[str, int]()

    def note(name: str, path: str, output: Tensor) -> None:
        maps = reader.read(output, name, path)
        as_is = output.dim() == 4 and output.stride() == maps.stride()
        axes[name] = 1 if as_is else output.dim() - 1

    handles = [network.register_forward_pre_hook(reader.before_forward)]
    handles += [
        network.get_submodule(path).register_forward_hook(
            lambda _module, _inputs, output, name=name, path=path: note(name, path, output)
        )
        for name, path in layers.items()
    ]
    try:
        network(images)
    finally:
        for handle in handles:
            handle.remove()
    require_captured(axes, layers)
    return axes
