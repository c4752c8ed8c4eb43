"""What of its input a place of a layer's map can see, found by asking the network itself."""

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
"""First and last pixel that is seen, along rows or columns."""

ALL = -1


def receptive_field(network: nn.Module, module_path: str, size: int, device: torch.device) -> ReceptiveField | None:
    """The field of the places of a module's map, when a network in evaluation mode sees `size` x `size` pixels.

    None where every place sees the whole image (attention, squeeze-excitation, a deep layer), where the fields do not
    lie in even steps (windows of attention), where the module has no map, and where the network cannot compute with
    weights that are all ones. Where branches or axes see differently far, as in Inception, it is the square that holds
    what any of them sees.
    """
    with torch.inference_mode(False), torch.enable_grad():
        images = torch.ones(1, input_channels(network), size, size, device=device, requires_grad=True)
        maps = _positive_forward(_apart(network.to(device)), module_path, images)
        if maps is None or not maps.requires_grad or maps.shape[2] != maps.shape[3]:
            return None
        side = maps.shape[2]
        places = sorted({0, 1, side // 2 - 1, side // 2, side - 2, side - 1} & set(range(side)))
        return _fit({place: _seen(maps, place, images) for place in (ALL, *places)})


def _apart(network: nn.Module) -> nn.Module:
    """The network with modules of its own, which remember nothing of its weights: what a forward with ones leaves in
    them must not be found by forwards that count."""
    apart = copy_sharing_weights(network)
    for module in apart.modules():
        for name, kept in vars(module).items():
            if name.endswith("_cache") and isinstance(kept, dict):  # timm's attention_bias_cache
                kept.clear()
    return apart


def _positive_forward(network: nn.Module, module_path: str, images: Tensor) -> Tensor | None:
    """The map of a forward in which each operation has a positive derivative wherever it can have any; None if the
    module puts out no map, or the network cannot compute with ones."""
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
    except (InvalidInput, RuntimeError):  # an extraction of hours should not fail for want of a field
        return None
    return None


def _seen(maps: Tensor, place: int, images: Tensor) -> Span:
    """What the place (place, place) of a map sees, as the span that holds its rows and columns; ALL is every place. One
    that sees nothing, but padding say, tells nothing: it counts as seeing all."""
    chosen = maps if place == ALL else maps[:, :, place, place]
    [gradient] = torch.autograd.grad(chosen.sum(), images, retain_graph=True)
    seen = gradient[0].any(0)
    lines = torch.cat([seen.any(0).nonzero(), seen.any(1).nonzero()])
    if not len(lines):
        return (0, images.shape[-1] - 1)
    return (int(lines.min()), int(lines.max()))


def _fit(spans: dict[int, Span]) -> ReceptiveField | None:
    """Field and stride from the ends of spans that no border of the image cuts."""
    lowest, highest = spans.pop(ALL)
    firsts = {place: first for place, (first, _) in spans.items() if first > lowest}
    lasts = {place: last for place, (_, last) in spans.items() if last < highest}
    strides = {round((b - a) / (q - p), 3) for ends in (firsts, lasts) for (p, a), (q, b) in _neighbours(ends)}
    if not firsts or not lasts or len(strides) != 1 or 0 in strides:
        return None
    [stride] = strides
    start = min(first - place * stride for place, first in firsts.items())
    end = max(last - place * stride for place, last in lasts.items())
    return ReceptiveField(size=round(end - start) + 1, stride=stride, start=start)


def _neighbours(ends: dict[int, int]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    return list(itertools.pairwise(sorted(ends.items())))


class _Found(Exception):
    """The layer has come: the rest of the forward is not needed."""


class _Reached(torch.autograd.Function):
    """Ones forward; backward one wherever there is any gradient: neither may vanish or grow over many layers."""

    @staticmethod
    def forward(_context: Any, values: Tensor) -> Tensor:
        return torch.ones_like(values)

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        return (gradient != 0).to(gradient.dtype)


class _Positive(TorchFunctionMode):
    """Within the block functions of torch reach as far as ever, and no gradient vanishes, cancels out or takes one of
    several ways: all weights count as ones, and all inputs of a maximum."""

    def __torch_function__(self, func: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        return _REPLACED.get(getattr(func, "__name__", ""), func)(*args, **(kwargs or {}))


def _reached(values: Tensor) -> Tensor:
    marked: Tensor = _Reached.apply(values)
    return marked


def _each_place(values: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
    return values


def _normalised(values: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
    return _reached(values) if values.requires_grad else values


def _normalised_by_image(values: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
    return _reached(values + values.mean(tuple(range(2, values.dim())), keepdim=True))


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
    """A convolution with ones, in the gaps of a dilated one too: a field is a square without holes. All channels of a
    group see the same, so one of each is computed."""
    merged = values.unflatten(1, (groups, -1)).sum(2)
    ones = merged.new_ones(groups, 1, *_extent(weight.shape[2:], dilation))
    found = _reached(functional.conv2d(merged, ones, None, stride, padding, 1, groups))
    return found[:, :, None].expand(-1, -1, weight.shape[0] // groups, -1, -1).flatten(1, 2)


def _mixed(values: Tensor, weight: Tensor, _bias: Tensor | None = None, **_kwargs: Any) -> Tensor:
    """A linear layer of ones; in memory of its own, since what follows may work in place."""
    return _reached(values.sum(-1, keepdim=True)).expand(*values.shape[:-1], weight.shape[0]).clone()


def _pooled(
    values: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    **_kwargs: Any,
) -> Tensor:
    """A maximum over windows, to which all of a window counts."""
    with torch.no_grad():
        told = functional.max_pool2d(values, kernel_size, stride, padding, dilation, ceil_mode)
    step, (rows, columns) = _pair(stride or kernel_size), _pair(padding)
    # A last window may begin within the image and end outside it (ceil_mode).
    padded = functional.pad(values, (columns, columns + step[1], rows, rows + step[0]))
    ones = values.new_ones(values.shape[1], 1, *_extent(_pair(kernel_size), dilation))
    found = functional.conv2d(padded, ones, None, step, groups=values.shape[1])
    return _reached(found[..., : told.shape[-2], : told.shape[-1]])


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
    **dict.fromkeys(_ACTIVATIONS.split(), _each_place),
    **dict.fromkeys(("batch_norm", "layer_norm", "rms_norm"), _normalised),
    **dict.fromkeys(("group_norm", "instance_norm"), _normalised_by_image),
    "conv2d": _convolved,
    "linear": _mixed,
    "max_pool2d": _pooled,
    "adaptive_max_pool2d": functional.adaptive_avg_pool2d,
}
