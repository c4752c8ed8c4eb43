"""The last layer of a network, and how it reads the maps of a layer."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from services.imaging.architectures import find_head, input_channels
from services.imaging.capture import capture
from services.imaging.manifests import ReceptiveField
from services.imaging.receptive_field import receptive_field


@dataclass(frozen=True)
class LayerProperties:
    """What a network shows about one of its layers: the (classes, units) weights of a linear head that reads the
    layer's averaged maps, if there is such a head, and the receptive field of a position."""

    weights: NDArray[np.float32] | None
    field: ReceptiveField | None

    @classmethod
    def of(cls, network: nn.Module, module: str, units: int, size: int) -> "LayerProperties":
        """Measure a layer of `units` units, in a network whose input has `size` x `size` pixels."""
        device = next(network.parameters()).device
        head = linear_head(network)
        weights = head_weights(network, module, size) if head is not None and head.in_features == units else None
        return cls(weights, receptive_field(network, module, size, device))


def linear_head(network: nn.Module) -> nn.Linear | None:
    """The last layer of a classifier, if it is linear."""
    path = find_head(network)
    head = network.get_submodule(path) if path is not None else None
    return head if isinstance(head, nn.Linear) else None


@torch.inference_mode()
def head_weights(network: nn.Module, module: str, size: int) -> NDArray[np.float32] | None:
    """The (classes, units) weights of the last layer if it is linear over the averaged maps of this module; else None.

    A trial shows whether it is: on a random image, the last layer must turn the averaged maps into the network's
    output. A network that averages a fixed window of its maps (as torchvision 0.1.9 does) is tested with that window.
    """
    head = linear_head(network)
    if head is None:
        return None
    seeded = torch.Generator().manual_seed(0)
    image = torch.randn(1, input_channels(network), size, size, generator=seeded).to(head.weight)
    with capture(network, {module: module}) as acts:
        logits = network(image)
    pooled = average_maps(network, acts[module])
    if pooled.shape[1] != head.in_features or not torch.allclose(head(pooled), logits, rtol=1e-3, atol=1e-4):
        return None
    weights: NDArray[np.float32] = head.weight.detach().float().cpu().numpy()
    return weights


def average_maps(network: nn.Module, maps: Tensor) -> Tensor:
    """Average (batch, units, height, width) maps over all positions, or over the window that the network averages."""
    window = getattr(network, "avgpool", None)
    if isinstance(window, nn.AvgPool2d) and isinstance(window.kernel_size, int):
        side = window.kernel_size
        maps = maps[:, :, :side, :side]
    return maps.mean((2, 3))
