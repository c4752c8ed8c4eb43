"""Turns a classifier into a fully convolutional network, which returns logits for every position of an image of any
size."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from services.activation_extraction.analyses.axes import trial_images
from services.activation_extraction.head import average_maps
from services.common.errors import InvalidInput
from services.imaging.architectures import find_head


class _TrunkEndError(Exception):
    """A forward has computed the maps that the last layers read. The layers after that would pool them."""


@dataclass(frozen=True)
class FullyConvolutional:
    """A network up to the module `trunk`, and its last layers as convolutions of that module's maps, without
    pooling."""

    network: nn.Module
    trunk: str
    head: nn.Module

    def logits(self, image: Tensor) -> Tensor:
        """Compute (batch, classes, height, width) logits, for images (batch, …, rows, columns) that are at least as
        large as the network's own input. Each position covers a window of that size. Hooks on the network's layers
        receive the maps of the full image."""
        outputs: list[Tensor] = []

        def stop(_module: nn.Module, _inputs: Any, maps: Tensor) -> None:
            outputs.append(maps)
            raise _TrunkEndError

        handle = self.network.get_submodule(self.trunk).register_forward_hook(stop)
        try:
            self.network(image)
        except _TrunkEndError:
            logits: Tensor = self.head(outputs[0])
            return logits
        finally:
            handle.remove()
        raise AssertionError(f"the forward of a {type(self.network).__name__} did not reach {self.trunk}")


@torch.no_grad()
def make_fully_convolutional(network: nn.Module, size: int) -> FullyConvolutional:
    """Turn a classifier of `size` x `size` images into its fully convolutional form, with the same weights.

    There are two kinds of classifier, and a trial on a random image shows the kind. If the last layer is linear over
    the averages of a module's maps, it becomes a 1x1 convolution of these maps. If `classifier` reads the maps of
    `features` position by position (AlexNet, VGG), its linear layers become convolutions, the first with a window as
    large as those maps. InvalidInput for any other classifier.
    """
    image = trial_images(network, 2, size)
    for candidate in (*_over_averages(network, image), *_over_windows(network, image)):
        if _grows(candidate, image):
            return candidate
    raise InvalidInput(
        f"{type(network).__name__} cannot be made fully convolutional: its last layers read maps neither averaged "
        "nor position by position, as in VGG; rank its units by gradient"
    )


def _over_averages(network: nn.Module, image: Tensor) -> Iterator[FullyConvolutional]:
    """The forms for a last layer that is linear over averages, one for each module whose maps have these averages.
    Modules with larger maps come first, then modules that run later."""
    path = find_head(network)
    head = network.get_submodule(path) if path is not None else nn.Identity()
    read = head if isinstance(head, nn.Linear) else nn.Identity()  # SqueezeNet averages the output of its last layer
    seen: list[tuple[str, int, Tensor]] = []

    def note(path: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.dim() == 4:
            seen.append((path, output[0, 0].numel(), average_maps(network, output)))

    handles = [module.register_forward_hook(partial(note, path)) for path, module in network.named_modules() if path]
    try:
        logits = network(image)
    finally:
        for handle in handles:
            handle.remove()
    calls = Counter(path for path, _, _ in seen)
    fitting = [
        (positions, number, path)
        for number, (path, positions, means) in enumerate(seen)
        if calls[path] == 1 and _reads(read, head, means, logits)
    ]
    for _, _, path in sorted(fitting, reverse=True):
        yield FullyConvolutional(network, path, _convolved(nn.Sequential(read), 1, 1))


def _reads(read: nn.Module, head: nn.Module, means: Tensor, logits: Tensor) -> bool:
    """Whether a last layer turns the averages of some maps into the network's output."""
    width = head.in_features if isinstance(head, nn.Linear) else logits.shape[1]
    return means.shape[1] == width and torch.allclose(read(means), logits, rtol=1e-3, atol=1e-4)


def _over_windows(network: nn.Module, image: Tensor) -> Iterator[FullyConvolutional]:
    """The form for a `classifier` that reads the maps of `features` position by position, with its layers as
    convolutions."""
    features, classifier = getattr(network, "features", None), getattr(network, "classifier", None)
    if not isinstance(features, nn.Module) or not isinstance(classifier, nn.Sequential):
        return
    maps = features(image)
    first = next((module for module in classifier if isinstance(module, nn.Linear)), None)
    if first is None or first.in_features != maps[0].numel():
        return
    head = _convolved(classifier, maps.shape[2], maps.shape[3])
    if torch.allclose(head(maps).flatten(1), network(image), rtol=1e-3, atol=1e-4):
        yield FullyConvolutional(network, "features", head)


def _convolved(layers: nn.Sequential, height: int, width: int) -> nn.Sequential:
    """Turn linear layers into convolutions that share their weights, the first with a window of height x width. Other
    modules stay as they are. The result is in evaluation mode."""
    convolved: list[nn.Module] = []
    for layer in layers:
        if not isinstance(layer, nn.Linear):
            convolved.append(layer)
            continue
        weight = layer.weight.detach().reshape(layer.out_features, -1, height, width)
        window = nn.Conv2d(weight.shape[1], layer.out_features, (height, width), bias=False, device="meta")
        window.weight = nn.Parameter(weight, requires_grad=False)
        window.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach(), requires_grad=False)
        convolved.append(window)
        height, width = 1, 1
    return nn.Sequential(*convolved).eval()


def _grows(network: FullyConvolutional, image: Tensor) -> bool:
    """Whether an image with twice the side has logits at more positions."""
    large = torch.cat([torch.cat([image, image], 2)] * 2, 3)
    return network.logits(large)[0, 0].numel() > network.logits(image)[0, 0].numel()


@contextmanager
def recompute_activations(network: nn.Module, used: list[str]) -> Iterator[None]:
    """Within the block, the children of a network's Sequentials keep only their input for a backward pass, and compute
    their other activations again. A large image then needs a fraction of the memory, but each backward pass needs one
    more forward. A child that contains a module of the paths `used` stays as it is."""
    chosen: dict[str, nn.Module] = {}
    for path, module in network.named_modules():
        if not isinstance(module, nn.Sequential):
            continue
        for name, child in module.named_children():
            inner = f"{path}.{name}" if path else name
            contains_used = any(one.startswith(f"{inner}.") for one in used)
            if not contains_used and any(True for _ in child.children()) and not _below(inner, chosen):
                chosen[inner] = child
    try:
        for child in chosen.values():
            child.forward = partial(checkpoint, child.forward, use_reentrant=False)
        yield
    finally:
        for child in chosen.values():
            child.__dict__.pop("forward", None)


def _below(path: str, modules: dict[str, nn.Module]) -> bool:
    return any(path.startswith(f"{one}.") for one in modules)
