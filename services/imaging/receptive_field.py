"""Receptive fields, measured by backpropagation through the network."""

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from services.common.errors import InvalidInput
from services.imaging.architectures import input_channels
from services.imaging.capture import hook_layers
from services.imaging.manifests import ReceptiveField
from services.imaging.sharing import copy_sharing_weights

Span = tuple[int, int]
"""First and last pixel of a field, along rows or columns."""

ALL = -1
"""Stands for all positions of a map together."""


def receptive_field(network: nn.Module, module_path: str, size: int, device: torch.device) -> ReceptiveField | None:
    """Measure the receptive field of a module's map, for a network in evaluation mode and images of `size` x `size`
    pixels.

    Return None if every position sees the full image (attention, squeeze-excitation, a deep layer), if the fields are
    not evenly spaced (attention windows), if the module outputs no map, or if the network cannot compute with weights
    that are all ones. If branches or axes have different fields, as in Inception, return the square that contains them
    all.
    """
    with torch.inference_mode(False), torch.enable_grad():
        images = torch.ones(1, input_channels(network), size, size, device=device, requires_grad=True)
        maps = _positive_forward(_copy_without_caches(network.to(device)), module_path, images)
        if maps is None or not maps.requires_grad or maps.shape[2] != maps.shape[3]:
            return None
        side = maps.shape[2]
        positions = sorted({0, 1, side // 2 - 1, side // 2, side - 2, side - 1} & set(range(side)))
        return _fit({position: _span(maps, position, images) for position in (ALL, *positions)})


def _copy_without_caches(network: nn.Module) -> nn.Module:
    """Copy the network's modules, with empty caches: real forwards must not find what a forward with ones cached, nor
    the other way round."""
    copied = copy_sharing_weights(network)
    for module in copied.modules():
        for name, cache in vars(module).items():
            if name.endswith("_cache") and isinstance(cache, dict):  # timm's attention_bias_cache
                cache.clear()
    return copied


def _positive_forward(network: nn.Module, module_path: str, images: Tensor) -> Tensor | None:
    """Return the map of a forward in which every derivative that can be nonzero is positive. Return None if the module
    outputs no map, or if the network cannot compute with ones."""
    one = torch.ones((), device=images.device)
    weights = {name: one.expand(weight.shape) for name, weight in network.named_parameters()}
    maps: list[Tensor] = []

    def stop(_name: str, found: Tensor) -> None:
        maps.append(found)
        raise _Found

    try:
        with _Positive(), hook_layers(network, {module_path: module_path}, stop):
            torch.func.functional_call(network, weights, (images,))
    except _Found:
        return maps[0]
    except (InvalidInput, RuntimeError):  # a missing field should not fail an extraction that takes hours
        return None
    return None


def _span(maps: Tensor, position: int, images: Tensor) -> Span:
    """Return the span of rows and columns that affect (position, position) of a map, or all of the map for ALL. A
    position that sees no pixel, only padding for example, gives no information and gets the full span."""
    chosen = maps if position == ALL else maps[:, :, position, position]
    [gradient] = torch.autograd.grad(chosen.sum(), images, retain_graph=True)
    seen = gradient[0].any(0)
    lines = torch.cat([seen.any(0).nonzero(), seen.any(1).nonzero()])
    if not len(lines):
        return (0, images.shape[-1] - 1)
    return (int(lines.min()), int(lines.max()))


def _fit(spans: dict[int, Span]) -> ReceptiveField | None:
    """Compute size, stride and start from those ends of the spans that the image border does not cut."""
    lowest, highest = spans.pop(ALL)
    firsts = {position: first for position, (first, _) in spans.items() if first > lowest}
    lasts = {position: last for position, (_, last) in spans.items() if last < highest}
    strides = {round((b - a) / (q - p), 3) for ends in (firsts, lasts) for (p, a), (q, b) in _neighbours(ends)}
    if not firsts or not lasts or len(strides) != 1 or 0 in strides:
        return None
    [stride] = strides
    start = min(first - position * stride for position, first in firsts.items())
    end = max(last - position * stride for position, last in lasts.items())
    return ReceptiveField(size=round(end - start) + 1, stride=stride, start=start)


def _neighbours(ends: dict[int, int]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    return list(itertools.pairwise(sorted(ends.items())))


class _Found(Exception):
    """The forward has reached the layer: the rest is not needed."""


class _Ones(torch.autograd.Function):
    """Forward returns ones, and backward returns one wherever the gradient is not zero, so that neither vanishes or
    grows over many layers."""

    @staticmethod
    def forward(_context: Any, values: Tensor) -> Tensor:
        return torch.ones_like(values)

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        return (gradient != 0).to(gradient.dtype)


class _Positive(TorchFunctionMode):
    """Within the block, torch's functions have their usual receptive fields, but no gradient vanishes or cancels out:
    all weights are ones, and all inputs of a maximum receive a gradient."""

    def __torch_function__(self, func: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        return _REPLACED.get(getattr(func, "__name__", ""), func)(*args, **(kwargs or {}))


def _ones(values: Tensor) -> Tensor:
    ones: Tensor = _Ones.apply(values)
    return ones


def _identity(values: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
    return values


def _normalised(values: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
    return _ones(values) if values.requires_grad else values


def _normalised_by_image(values: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
    return _ones(values + values.mean(tuple(range(2, values.dim())), keepdim=True))


# The parameters are those of torch's conv2d.
def _convolved(
    values: Tensor,
    weight: Tensor,
    _bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    **_kwargs: Any,
) -> Tensor:
    """Convolve with ones, also in the gaps of a dilated kernel: a field is a square without holes. All channels of a
    group have the same field, so one per group is computed."""
    merged = values.unflatten(1, (groups, -1)).sum(2)
    ones = merged.new_ones(groups, 1, *_extent(weight.shape[2:], dilation))
    maps = _ones(functional.conv2d(merged, ones, None, stride, padding, 1, groups))
    return maps[:, :, None].expand(-1, -1, weight.shape[0] // groups, -1, -1).flatten(1, 2)


def _mixed(values: Tensor, weight: Tensor, _bias: Tensor | None = None, **_kwargs: Any) -> Tensor:
    """Apply a linear layer of ones. The result has its own memory, since the next operation may work in place."""
    return _ones(values.sum(-1, keepdim=True)).expand(*values.shape[:-1], weight.shape[0]).clone()


# The parameters are those of torch's max_pool2d.
def _pooled(
    values: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    **_kwargs: Any,
) -> Tensor:
    """Pool by maximum, where every value in a window counts."""
    with torch.no_grad():
        expected = functional.max_pool2d(values, kernel_size, stride, padding, dilation, ceil_mode)
    step, (rows, columns) = _pair(stride or kernel_size), _pair(padding)
    # With ceil_mode, a last window may start inside the image and end outside.
    padded = functional.pad(values, (columns, columns + step[1], rows, rows + step[0]))
    ones = values.new_ones(values.shape[1], 1, *_extent(_pair(kernel_size), dilation))
    maps = functional.conv2d(padded, ones, None, step, groups=values.shape[1])
    return _ones(maps[..., : expected.shape[-2], : expected.shape[-1]])


def _extent(kernel: Any, dilation: Any) -> tuple[int, int]:
    rows, columns = _pair(dilation)
    return ((kernel[0] - 1) * rows + 1, (kernel[1] - 1) * columns + 1)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


_ACTIVATIONS = (
    "relu relu_ relu6 hardtanh hardtanh_ leaky_relu leaky_relu_ elu elu_ selu selu_ celu celu_ prelu gelu silu silu_ "
    "mish mish_ hardswish hardswish_ hardsigmoid hardsigmoid_ sigmoid sigmoid_ tanh tanh_ softplus clamp clamp_"
)
_REPLACED: dict[str, Callable[..., Tensor]] = {
    **dict.fromkeys(_ACTIVATIONS.split(), _identity),
    **dict.fromkeys(("batch_norm", "layer_norm", "rms_norm"), _normalised),
    **dict.fromkeys(("group_norm", "instance_norm"), _normalised_by_image),
    "conv2d": _convolved,
    "linear": _mixed,
    "max_pool2d": _pooled,
    "adaptive_max_pool2d": functional.adaptive_avg_pool2d,
}
