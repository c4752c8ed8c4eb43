"""Networks by name: any torchvision or timm classifier with a new last layer, and the names of its layers."""

from collections.abc import Iterable
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from services.common.errors import InvalidInput
from services.common.redaction import quoted
from services.imaging.lite0 import load_imagenet_lite0
from services.imaging.preprocessing import Preprocessing
from services.imaging.semantics import Semantics

ORIGINAL_LAYERS: dict[str, dict[str, str]] = {
    "alexnet": {f"conv{n}": f"features.{m}" for n, m in zip((1, 2, 3, 4, 5), (0, 3, 6, 8, 10), strict=True)},
    "vgg16": {
        name: f"features.{m}"
        for name, m in zip(("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3"), (2, 7, 14, 21, 28), strict=True)
    },
    "inception_v3": {f"mixed_{n}": f"Mixed_{n}" for n in ("5d", "6a", "6e", "7a", "7c")},
    "resnet152": {name: name for name in ("bn1", "layer1", "layer2", "layer3", "layer4")},
}
"""The layers that the original analyses: its names, and the module paths in torchvision's networks."""

_FIXED_WINDOW = {"inception_v3": 8} | {f"resnet{depth}": 7 for depth in (18, 34, 50, 101, 152)}
"""Side and stride of torchvision 0.1.9's average pooling. Its AlexNet and VGG did not pool before the classifier."""

_TRANSFORM_INPUT = ("inception_v3", "googlenet")
_AUXILIARY = {"inception_v3": ("AuxLogits.",), "googlenet": ("aux1.", "aux2.")}
_HEADS = ("fc", "classifier", "head", "heads", "last_linear", "head_dist")
_NATIVE_SIZE = {"inception_v3": 299, "maxvit_t": 224} | {
    f"vit_{kind}": 224 for kind in ("b_16", "b_32", "h_14", "l_16", "l_32")
}
_TRUNKS = ("features", "stages", "layers", "levels", "network", "transformers")
"""Containers that are not offered as layers; their children are."""

_LITE0 = "efficientnet_lite0"


def build_network(
    architecture: str,
    classes: int,
    weights: str = "none",
    semantics: Semantics = "current",
    transform_input: bool | None = None,
    channels: int = 3,
) -> nn.Module:
    """Build a classifier with `classes` outputs, for images of `channels` channels (1 or 3).

    `weights` is `none` or `imagenet`. For one channel, ImageNet weights are summed over the three channels.
    `transform_input` makes Inception and GoogLeNet convert ImageNet's normalisation into their own; None does what
    `weights` require. InvalidInput if neither torchvision nor timm has the network, if `semantics` requests torchvision
    0.1.9 and that version did not have it, or if it cannot be built for one channel.
    """
    network = _build(architecture, classes, weights, semantics, transform_input, channels)
    setattr(network, "image_channels", channels)  # noqa: B010 - nn.Module's own attribute types admit no int
    return network


def _build(
    architecture: str, classes: int, weights: str, semantics: Semantics, transform_input: bool | None, channels: int
) -> nn.Module:
    if weights not in ("none", "imagenet"):
        raise InvalidInput(f"weights {quoted(weights)}; expected none or imagenet")
    pretrained = weights == "imagenet"
    pool = None if semantics == "current" else _fixed_pool(architecture)
    if architecture in torchvision.models.list_models(module=torchvision.models):
        network = _torchvision(architecture, ("DEFAULT" if pool is None else "IMAGENET1K_V1") if pretrained else None)
        if architecture in _TRANSFORM_INPUT:
            options = transforms_input(architecture, weights) if transform_input is None else transform_input
            if options and channels != 3:
                raise InvalidInput(
                    f"network {architecture} with ImageNet's weights takes three channels, not {channels}"
                )
            setattr(network, "transform_input", options)  # noqa: B010 - nn.Module's own attribute types admit no bool
        if channels != 3:
            _replace_stem(network, channels, pretrained)
        if pool is not None:
            network.avgpool = pool
        replace_head(network, classes)
        return network
    if _library().is_model(architecture):
        return _timm(architecture, classes, pretrained, channels)
    raise InvalidInput(
        f"network {quoted(architecture)} is not known; expected a torchvision classifier (alexnet, vgg16, "
        "inception_v3, resnet152, …) or one of timm's (efficientnet_lite0, …)"
    )


def transforms_input(architecture: str, weights: str) -> bool:
    """Return whether a network with these weights normalises its input itself, as Inception and GoogLeNet with ImageNet
    weights do."""
    return weights == "imagenet" and architecture in _TRANSFORM_INPUT


def without_auxiliary(architecture: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Remove the weights of Inception's and GoogLeNet's auxiliary heads, which only serve training from scratch."""
    heads = _AUXILIARY.get(architecture, ())
    return {name: value for name, value in weights.items() if not name.startswith(heads)} if heads else weights


def build_skeleton(architecture: str, classes: int, semantics: Semantics = "current", channels: int = 3) -> nn.Module:
    """Build a network on torch's meta device, without memory for its weights, to inspect its layers.

    A few networks read their own weights while they are built; these get real weights. InvalidInput as `build_network`.
    """
    try:
        with torch.device("meta"):
            return build_network(architecture, classes, semantics=semantics, channels=channels)
    except NotImplementedError:
        return build_network(architecture, classes, semantics=semantics, channels=channels)


def native_preprocessing(architecture: str, image_size: int = 0, channels: int = 3) -> Preprocessing:
    """Return the preprocessing that a network was made for. `image_size` 0 keeps the network's own side in pixels (227
    for the original's networks). For one channel, mean and std are averaged over the three channels."""
    native = _native_preprocessing(architecture, image_size)
    if channels == 3:
        return native
    mean, std = (sum(values) / len(values) for values in (native.mean, native.std))
    return Preprocessing(size=native.size, channels=1, mean=(mean,), std=(std,))


def _native_preprocessing(architecture: str, image_size: int) -> Preprocessing:
    if architecture in torchvision.models.list_models(module=torchvision.models):
        return Preprocessing(size=image_size or _NATIVE_SIZE.get(architecture, 227))
    timm = _library()
    if not timm.is_model(architecture):
        raise InvalidInput(f"network {quoted(architecture)} is not known to torchvision or timm")
    entry = timm.get_pretrained_cfg(architecture)
    if entry is None:
        return Preprocessing(size=image_size or 224)
    return Preprocessing(size=image_size or entry.input_size[-1], mean=entry.mean, std=entry.std)


def replace_head(network: nn.Module, classes: int) -> None:
    """Replace the last linear layer with a new one that has `classes` outputs."""
    path = head_path(network)
    old = network.get_submodule(path)
    new: nn.Module
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, classes, bias=old.bias is not None)
    else:
        assert isinstance(old, nn.Conv2d)
        new = nn.Conv2d(old.in_channels, classes, kernel_size=1)
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, new)


def head_path(network: nn.Module) -> str:
    """Return the module path of a classifier's last linear layer (in SqueezeNet, its last 1x1 convolution)."""
    path = find_head(network)
    if path is None:
        raise InvalidInput(f"{type(network).__name__} has no last linear layer under any of {', '.join(_HEADS)}")
    return path


def find_head(network: nn.Module) -> str | None:
    """Return the path as `head_path` does, or None if there is no such layer."""
    declared = getattr(network, "pretrained_cfg", {}).get("classifier")
    if isinstance(declared, str) and isinstance(dict(network.named_modules()).get(declared), nn.Linear | nn.Conv2d):
        return declared
    candidates: list[str] = [
        path
        for path, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and path.split(".")[0] in _HEADS
    ]
    return candidates[-1] if candidates else None


def input_channels(network: nn.Module) -> int:
    """Return how many channels the input of a network from `build_network` has."""
    channels: int = getattr(network, "image_channels", 3)
    return channels


def layer_names(architecture: str, network: nn.Module) -> dict[str, str]:
    """Return the layers that are offered, name to module path: the original's layers if it has this network, else its
    stages and blocks. Only a forward shows which of them output a map (see `layers`)."""
    if architecture in ORIGINAL_LAYERS:
        return ORIGINAL_LAYERS[architecture]
    blocks = getattr(network, "blocks", None)
    if isinstance(blocks, nn.Sequential | nn.ModuleList):
        names = {f"block{n}": f"blocks.{n}" for n in range(len(blocks))}
        return names | ({"conv_head": "bn2"} if isinstance(getattr(network, "bn2", None), nn.Module) else {})
    head = (find_head(network) or "").split(".")[0]
    offered: list[str] = []
    for name, child in network.named_children():
        if name == head or ("head" in name and name != "conv_head"):
            continue
        parts = [f"{name}.{number}" for number, _ in child.named_children()] if name in _TRUNKS else [name]
        offered += [path for path in parts if _has_parameters(network.get_submodule(path))]
    return {path: path for path in offered}


def _has_parameters(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def resolve_layers(architecture: str, network: nn.Module, layers: Iterable[str]) -> dict[str, str]:
    """Return the module path of each requested layer: a name from `layer_names`, or any module path. An empty request
    stands for the two deepest layers. InvalidInput if a layer does not exist; the message lists those that do."""
    offered = layer_names(architecture, network)
    modules = dict(network.named_modules())
    requested = list(dict.fromkeys(layers)) or list(offered)[-2:]
    for layer in requested:
        if layer not in offered and (layer not in modules or not layer):
            raise InvalidInput(
                f"network {architecture} has no layer {quoted(layer)}; it has {', '.join(offered)}, or any module path"
            )
    return {layer: offered.get(layer, layer) for layer in requested}


def _fixed_pool(architecture: str) -> nn.Module:
    """Return what torchvision 0.1.9 used instead of today's adaptive average pooling."""
    if architecture == "alexnet" or architecture.startswith("vgg"):
        return nn.Identity()
    if architecture not in _FIXED_WINDOW:
        raise InvalidInput(
            f"network {quoted(architecture)} has no semantics torchvision-0.1.9; only alexnet, vgg…, "
            f"{', '.join(_FIXED_WINDOW)} have them"
        )
    return nn.AvgPool2d(_FIXED_WINDOW[architecture])


def _torchvision(architecture: str, weights: str | None) -> nn.Module:
    pretrained = weights is not None
    options = {"aux_logits": pretrained, "init_weights": not pretrained} if architecture == "inception_v3" else {}
    network: nn.Module = torchvision.models.get_model(architecture, weights=weights, **options)
    if architecture in ("inception_v3", "googlenet"):
        setattr(network, "aux_logits", False)  # noqa: B010 - nn.Module's own attribute types admit no bool
        for name in ("AuxLogits", "aux1", "aux2"):
            if hasattr(network, name):
                setattr(network, name, None)
    return network


def _replace_stem(network: nn.Module, channels: int, pretrained: bool) -> None:
    """Replace the first convolution with one for another number of input channels."""
    path, old = next((path, module) for path, module in network.named_modules() if isinstance(module, nn.Conv2d))
    new = nn.Conv2d(
        channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    with torch.no_grad():
        new.weight.copy_(old.weight.sum(1, keepdim=True) if pretrained else old.weight[:, :channels])
        if new.bias is not None and old.bias is not None:
            new.bias.copy_(old.bias)
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, new)


def _library() -> Any:
    """timm. Its import takes seconds, which processes that only use torchvision's networks do not spend."""
    import timm

    return timm


def _timm(architecture: str, classes: int, pretrained: bool, channels: int) -> nn.Module:
    timm = _library()
    if pretrained and architecture == _LITE0:
        network: nn.Module = timm.create_model(architecture, num_classes=classes, in_chans=channels)
        body = {name: value for name, value in load_imagenet_lite0().items() if not name.startswith("classifier.")}
        if channels != 3:
            body["conv_stem.weight"] = body["conv_stem.weight"].sum(1, keepdim=True)
        missing, unexpected = network.load_state_dict(body, strict=False)
        if unexpected or {name.split(".")[0] for name in missing} != {"classifier"}:
            raise InvalidInput(f"the packaged ImageNet weights do not fit timm's {_LITE0}: {missing}, {unexpected}")
        return network
    options: dict[str, Any] = {} if channels == 3 else {"in_chans": channels}
    try:
        network = timm.create_model(architecture, pretrained=pretrained, num_classes=classes, **options)
    except (TypeError, AssertionError) as error:
        if not options:
            raise
        raise InvalidInput(f"network {architecture} takes three channels, not {channels}: {error}") from error
    assert isinstance(network, nn.Module)
    if getattr(network, "num_classes", classes) != classes:
        raise InvalidInput(f"network {architecture} of timm is an encoder alone; expected a classifier")
    return network
