"""What happens to the logit when units are silenced: single ones, and all named ones together."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from services.activation_extraction.analyses.axes import trial_images, unit_axes
from services.activation_extraction.analyses.silencing import Silencing, silence_together


@dataclass(frozen=True)
class SilencedLogits:
    """The logit of a class on one tile: as it is, with the named units silenced, with all other units of the layer
    silenced, and with the whole layer silenced."""

    full: float
    without_named: float
    only_named: float
    without_layer: float


@torch.inference_mode()
def silence_each(network: nn.Module, module: str, units: Sequence[int], image: Tensor, class_: int) -> list[float]:
    """The logit of a class with each of these units silenced alone, for a (1, channels, size, size) input."""
    if not units:
        return []
    silencing = Silencing.of(network, module, units, image.shape[-1])
    [part] = silencing.parts(image)
    logits: list[float] = part[0, 1:, class_].tolist()
    return logits


@torch.inference_mode()
def silence_named(network: nn.Module, module: str, named: Sequence[int], image: Tensor, class_: int) -> SilencedLogits:
    """The logits for a (1, channels, size, size) input with the named units, or all other units, silenced together."""
    axis = unit_axes(network, {module: module}, trial_images(network, 2, image.shape[-1]))[module]
    total = _units_of(network, module, axis, image)
    chosen = torch.tensor(sorted(set(named)), dtype=torch.int64)
    everything = torch.arange(total)
    others = everything[~torch.isin(everything, chosen)]
    full = float(network(image)[0, class_])

    def without(units: Tensor) -> float:
        with silence_together(network, module, axis, units):
            return float(network(image)[0, class_])

    return SilencedLogits(full, without(chosen), without(others), without(everything))


def _units_of(network: nn.Module, module: str, axis: int, image: Tensor) -> int:
    sizes: list[int] = []
    handle = network.get_submodule(module).register_forward_hook(
        lambda _module, _inputs, output: sizes.append(output.shape[axis])
    )
    try:
        network(image)
    finally:
        handle.remove()
    return sizes[0]
