"""A classifier as a fully convolutional network: what its last layers say of every place of an image of any size."""

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


class _TrunkReachedError(Exception):
    """A forward has come to the maps that the last layers read; what follows would pool them."""


@dataclass(frozen=True)
class FullyConvolutionalImages:
    """A network up to the module `trunk`, and its last layers as convolutions of that module's maps, not pooled."""

    network: nn.Module
    trunk: str
    head: nn.Module

    def logits(self, image: Tensor) -> Tensor:
        """(batch, classes, height, width), a place a window of the network's own input, of (batch, …, rows, columns)
        images at least as large as that. Hooks on the network's layers see the maps of the whole image."""
        reached: list[Tensor] = []

        def stop(_module: nn.Module, _inputs: Any, maps: Tensor) -> None:
            reached.append(maps)
            raise _TrunkReachedError

        handle = self.network.get_submodule(self.trunk).register_forward_hook(stop)
        try:
            self.network(image)
        except _TrunkReachedError:
            logits: Tensor = self.head(reached[0])
            return logits
        finally:
            handle.remove()
        raise AssertionError(f"the forward of a {type(self.network).__name__} did not come to {self.trunk}")


@torch.no_grad()
def as_whole(network: nn.Module, size: int) -> FullyConvolutionalImages:
    """The fully convolutional form of a classifier of images of `size` x `size` pixels, with the same weights.

    Either its last layer is linear over the averages of a module's maps, and becomes a 1x1 convolution of these; or
    (AlexNet, VGG) its `classifier` reads the maps of `features` place by place, and its linear layers become
    convolutions, the first with a window as large as those maps. InvalidInput for any other: which of the two a network
    is, is asked of its output for a random image.
    """
    image = trial_images(network, 2, size)
    for whole in (*_over_averages(network, image), *_over_windows(network, image)):
        if _grows(whole, image):
            return whole
    raise InvalidInput(
        f"a {type(network).__name__} cannot be made fully convolutional: it reads whole mammograms neither by a "
        "linear layer over averaged maps nor as AlexNet and VGG do; rank its units by gradient"
    )


def _over_averages(network: nn.Module, image: Tensor) -> Iterator[FullyConvolutionalImages]:
    """Where the last layer is linear over averages: it, over the maps that have these averages; larger and later maps
    come first."""
    path = find_head(network)
    head = network.get_submodule(path) if path is not None else nn.Identity()
    read = head if isinstance(head, nn.Linear) else nn.Identity()  # SqueezeNet averages what its last layer puts out
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
        (places, number, path)
        for number, (path, places, means) in enumerate(seen)
        if calls[path] == 1 and _reads(read, head, means, logits)
    ]
    for _, _, path in sorted(fitting, reverse=True):
        yield FullyConvolutionalImages(network, path, _convolved(nn.Sequential(read), 1, 1))


def _reads(read: nn.Module, head: nn.Module, means: Tensor, logits: Tensor) -> bool:
    """Whether a last layer makes a network's output of the averages of some maps."""
    width = head.in_features if isinstance(head, nn.Linear) else logits.shape[1]
    return means.shape[1] == width and torch.allclose(read(means), logits, rtol=1e-3, atol=1e-4)


def _over_windows(network: nn.Module, image: Tensor) -> Iterator[FullyConvolutionalImages]:
    """Where `classifier` reads the maps of `features` place by place: its layers as convolutions."""
    features, classifier = getattr(network, "features", None), getattr(network, "classifier", None)
    if not isinstance(features, nn.Module) or not isinstance(classifier, nn.Sequential):
        return
    maps = features(image)
    first = next((module for module in classifier if isinstance(module, nn.Linear)), None)
    if first is None or first.in_features != maps[0].numel():
        return
    head = _convolved(classifier, maps.shape[2], maps.shape[3])
    if torch.allclose(head(maps).flatten(1), network(image), rtol=1e-3, atol=1e-4):
        yield FullyConvolutionalImages(network, "features", head)


def _convolved(layers: nn.Sequential, height: int, width: int) -> nn.Sequential:
    """Linear layers as convolutions that share their weights, the first with a window of height x width, in evaluation
    mode; other modules as they are."""
    made: list[nn.Module] = []
    for layer in layers:
        if not isinstance(layer, nn.Linear):
            made.append(layer)
            continue
        weight = layer.weight.detach().reshape(layer.out_features, -1, height, width)
        window = nn.Conv2d(weight.shape[1], layer.out_features, (height, width), bias=False, device="meta")
        window.weight = nn.Parameter(weight, requires_grad=False)
        window.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach(), requires_grad=False)
        made.append(window)
        height, width = 1, 1
    return nn.Sequential(*made).eval()


def _grows(whole: FullyConvolutionalImages, image: Tensor) -> bool:
    """Whether an image of twice the side is read at more places."""
    large = torch.cat([torch.cat([image, image], 2)] * 2, 3)
    return whole.logits(large)[0, 0].numel() > whole.logits(image)[0, 0].numel()


@contextmanager
def frugal(network: nn.Module, kept: list[str]) -> Iterator[None]:
    """Within the block the children of a network's Sequentials keep for a backward pass only what goes into them, and
    compute the rest anew: a large image needs a fraction of the memory, and one more forward a backward pass. Children
    that a module of the paths `kept` lies in are as ever."""
    chosen: dict[str, nn.Module] = {}
    for path, module in network.named_modules():
        if not isinstance(module, nn.Sequential):
            continue
        for name, child in module.named_children():
            inner = f"{path}.{name}" if path else name
            within = any(one.startswith(f"{inner}.") for one in kept)
            if not within and any(True for _ in child.children()) and not _below(inner, chosen):
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
