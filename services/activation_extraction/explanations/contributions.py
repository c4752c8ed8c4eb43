"""How much each unit of a layer contributes to the logit of a class on one tile."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from services.activation_extraction.analyses.axes import trial_images, unit_axes
from services.activation_extraction.analyses.gradient import attribute_to, recording
from services.activation_extraction.head import average_maps, linear_head
from services.imaging.capture import capture

Elementwise = Callable[[Tensor], Tensor]

BETWEEN: tuple[Elementwise, ...] = (
    lambda maps: maps,
    torch.relu,
    nn.functional.relu6,
    nn.functional.silu,
    nn.functional.hardswish,
    nn.functional.gelu,
)
"""What networks do to the maps of their last layer before they average them. All keep 0 at 0."""


@dataclass(frozen=True)
class Contributions:
    """The shares of a layer's units in the logit of a class on one tile: (units,) `units` in float64, the `bias` of the
    class, and the `rest`: units.sum() + bias + rest is the logit.

    `exact` says that the last layer is linear over the averages of the layer's maps: then the share of a unit is its
    average times its weight, and the rest is rounding. Otherwise the share is gradient x activation, which is only of
    first order, and the rest may be large. `influence` (units,) orders the units as the original does: the largest
    activation times the weight, or gradient x activation if there is no weight.
    """

    units: Tensor
    influence: Tensor
    bias: float
    rest: float
    exact: bool


@torch.inference_mode()
def find_reading(network: nn.Module, module: str, size: int) -> Elementwise | None:
    """What the network does to the maps of a module before the last layer reads their averages; None if the last layer
    is not linear, or reads something else. A trial on a random image of `size` x `size` pixels shows it."""
    head = linear_head(network)
    if head is None:
        return None
    image = trial_images(network, 1, size)
    with capture(network, {module: module}) as acts, _inputs_of(head) as inputs:
        network(image)
    maps, [read, *again] = acts[module], inputs or [torch.empty(0)]
    if again or read.shape != maps.shape[:2]:
        return None
    for between in BETWEEN:
        if torch.allclose(average_maps(network, between(maps)), read, rtol=1e-3, atol=1e-5):
            return between
    return None


def contributions_of(
    network: nn.Module, module: str, image: Tensor, class_: int, maxima: Tensor, logit: float
) -> Contributions:
    """The contributions of a module's units to the logit of a class on a tile. The tile is given as the (1, channels,
    size, size) input of the network, with the (units,) maxima of the module's maps."""
    reading = find_reading(network, module, image.shape[-1])
    if reading is None:
        units = _gradients(network, module, image, class_)
        return Contributions(units, units, 0.0, logit - float(units.sum()), exact=False)
    head = linear_head(network)
    assert head is not None
    with torch.inference_mode(), _inputs_of(head) as inputs:
        network(image)
    weights = head.weight[class_].detach().double().cpu()
    bias = 0.0 if head.bias is None else float(head.bias[class_].detach())
    units = weights * inputs[0][0].double().cpu()
    return Contributions(units, weights * reading(maxima).double(), bias, logit - float(units.sum()) - bias, exact=True)


def _gradients(network: nn.Module, module: str, image: Tensor, class_: int) -> Tensor:
    layers = {module: module}
    axes = unit_axes(network, layers, trial_images(network, 2, image.shape[-1]))
    with recording(network, layers, axes) as outputs:
        logits = network(image)
    return attribute_to([logits[0, class_]], outputs)[module][0, 0].cpu()


@contextmanager
def _inputs_of(head: nn.Module) -> Iterator[list[Tensor]]:
    """Within the block, collect the input of each call of a module."""
    collected: list[Tensor] = []

    def collect(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        collected.append(inputs[0].detach().clone())

    handle = head.register_forward_pre_hook(collect)
    try:
        yield collected
    finally:
        handle.remove()
