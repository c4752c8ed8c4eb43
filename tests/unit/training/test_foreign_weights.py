"""Weights with the names and outputs of other projects: they give the numbers of a forward pass in their own terms."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as f

from services.common.errors import InvalidInput
from services.imaging.architectures import build_network, build_skeleton
from services.imaging.checkpoint import load_weights, read_weights
from services.imaging.outputs import probabilities, with_two_outputs
from services.imaging.weight_names import Renaming, read_renaming
from services.training.weights_file import WeightsFile

EFFICIENTNET = "tf_efficientnet_b0"
SIZE = 64
Weights = dict[str, Tensor]


def test_mammo_clips_classifier(tmp_path: Path) -> None:
    """A file shaped like Mammo-CLIP's classifiers: names of EfficientNet-PyTorch below `image_encoder`, one sigmoid
    output, and predictions as NumPy arrays next to the weights. Imported for two classes, it gives the probabilities of
    a forward pass that reads the file's own names."""
    weights = efficientnet_pytorch_weights()
    weights = {f"image_encoder.{name}": value for name, value in weights.items()}
    weights |= {"classifier.weight": torch.randn(1, 1280), "classifier.bias": torch.randn(1)}
    content = {"model": weights, "predictions": np.zeros(3), "epoch": 7, "auroc": np.float64(0.8)}
    torch.save(content, tmp_path / "best.pth")
    names = tmp_path / "names.txt"
    pairs = read_renaming("", "efficientnet-pytorch", build_skeleton(EFFICIENTNET, 2)).pairs
    lines = ["# its head has timm's name", "classifier classifier", *(f"{old} {new}" for old, new in pairs)]
    names.write_text("\n".join(lines))
    file = WeightsFile(EFFICIENTNET, prefix="image_encoder.", rename=str(names), outputs="sigmoid")
    found, outputs = file.read(tmp_path / "best.pth", 2)
    images = torch.randn(2, 3, SIZE, SIZE)
    expected = efficientnet_forward(weights, "image_encoder.", images).sigmoid()[:, 0]
    logits = forward(EFFICIENTNET, found, 2, images)
    assert outputs == "softmax"
    torch.testing.assert_close(probabilities(logits, outputs)[:, 1], expected, atol=1e-5, rtol=0)


def test_mammo_clips_encoder_without_a_head(tmp_path: Path) -> None:
    """The pre-trained file has image and text encoders and no classifier. Its head becomes 0, and the features before
    it are those of a forward pass in the file's own names."""
    own = efficientnet_pytorch_weights()
    weights = {f"image_encoder.{name}": value for name, value in own.items()} | {"text_encoder.x": torch.ones(2)}
    torch.save({"model": weights, "optimizer": {}, "epoch": 7}, tmp_path / "clip.tar")
    file = WeightsFile(EFFICIENTNET, prefix="image_encoder.", rename="efficientnet-pytorch", headless=True)
    found, _ = file.read(tmp_path / "clip.tar", 3)
    network = loaded(EFFICIENTNET, found, 3)
    images = torch.randn(2, 3, SIZE, SIZE)
    with torch.inference_mode():
        features = network.forward_features(images).mean((2, 3))  # type: ignore[operator]
        assert network(images).abs().max() == 0
    torch.testing.assert_close(features, efficientnet_features(weights, "image_encoder.", images), atol=1e-5, rtol=1e-5)
    torch.save({"classifier.bias": torch.ones(1)}, tmp_path / "head.pth")
    with pytest.raises(InvalidInput, match=r"has the last layer classifier\.bias; import it without --headless"):
        WeightsFile(EFFICIENTNET, headless=True).read(tmp_path / "head.pth", 3)


def test_gmics_local_network(tmp_path: Path) -> None:
    """A file shaped like GMIC's: a plain state dict of several networks, of which the local one is a ResNet-18 with two
    sigmoid outputs, benign and malignant, that do not exclude each other."""
    own = build_network("resnet18", 2).state_dict()
    weights = {f"local_network.dn_resnet.{name}": value for name, value in own.items() if not name.startswith("fc.")}
    weights |= {f"local_network.fc_layer.{name}": own[f"fc.{name}"] for name in ("weight", "bias")}
    weights |= {"global_network.conv1.weight": torch.ones(3), "attention_module.x": torch.ones(1)}
    torch.save(weights, tmp_path / "sample_model_1.p")
    (tmp_path / "names.txt").write_text("dn_resnet.x -\nfc_layer fc\n")
    file = WeightsFile("resnet18", prefix="local_network.", rename=str(tmp_path / "names.txt"), outputs="sigmoid")
    with pytest.raises(InvalidInput, match=r"no weight 'dn_resnet\.x', which the renaming names"):
        file.read(tmp_path / "sample_model_1.p", 2)
    names = "\n".join(
        f"dn_resnet.{name.split('.')[0]} {name.split('.')[0]}" for name in sorted(own) if name[:3] != "fc."
    )
    (tmp_path / "names.txt").write_text("\n".join(sorted({*names.splitlines(), "fc_layer fc"})))
    found, outputs = file.read(tmp_path / "sample_model_1.p", 2)
    images = torch.randn(2, 3, SIZE, SIZE)
    assert outputs == "sigmoid"
    expected = forward("resnet18", own, 2, images).sigmoid()
    torch.testing.assert_close(
        probabilities(forward("resnet18", found, 2, images), outputs), expected, atol=1e-5, rtol=0
    )


class Evil:
    """Pickles to a call."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


def test_whole_modules_are_refused_and_nothing_is_run(tmp_path: Path) -> None:
    """A pickled module, as Mirai's, is refused with the page that says what to do; no code of the file runs."""
    torch.save(nn.Sequential(nn.Linear(2, 2)), tmp_path / "module.p")
    torch.save({"model": Evil(tmp_path / "touched")}, tmp_path / "evil.p")
    (tmp_path / "plain.p").write_bytes(pickle.dumps(Evil(tmp_path / "touched")))
    for name in ("module.p", "evil.p"):
        with pytest.raises(InvalidInput, match=f'{name} contains a whole pickled module.*"Whole modules"'):
            read_weights(tmp_path / name)
    with pytest.raises(InvalidInput, match=r"plain\.p"):
        read_weights(tmp_path / "plain.p")
    assert not (tmp_path / "touched").exists()


def test_names_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """The error names the prefix, the line or the weight."""
    weights = {"a.x": torch.ones(1), "b.x": torch.ones(1)}
    with pytest.raises(InvalidInput, match=r"no weight whose name begins with 'c\."):
        Renaming("c.").apply(weights, "file")
    with pytest.raises(InvalidInput, match=r"two weights get the name c\.x, one of them 'b\.x'"):
        Renaming("", (("a", "c"), ("b", "c"))).apply(weights, "file")
    assert Renaming("", (("a", "-"), ("b.x", "y"))).apply(weights, "file").keys() == {"y"}
    assert Renaming("a.").apply(weights, "file").keys() == {"x"}
    for text, message in (("one", r"names:1: 'one'; expected an old"), ("a b\na c", r"names:2: 'a' is named twice")):
        (tmp_path / "names").write_text(text)
        with pytest.raises(InvalidInput, match=message):
            read_renaming("", str(tmp_path / "names"), nn.Identity())
    with pytest.raises(InvalidInput, match="a Identity has no stages of blocks"):
        read_renaming("", "efficientnet-pytorch", nn.Identity())
    with pytest.raises(InvalidInput, match="the last layer fc has 3 outputs; expected one"):
        with_two_outputs({"fc.weight": torch.ones(3, 2)}, "fc")


def loaded(architecture: str, weights: Weights, classes: int) -> nn.Module:
    """A network with these weights."""
    network = build_network(architecture, classes).eval()
    load_weights(network, weights, "the file")
    return network


def forward(architecture: str, weights: Weights, classes: int, images: Tensor) -> Tensor:
    """The logits of a network with these weights."""
    with torch.inference_mode():
        logits: Tensor = loaded(architecture, weights, classes)(images)
        return logits


def efficientnet_pytorch_weights() -> Weights:
    """Random weights under the names of EfficientNet-PyTorch. The names are written here a second time, by hand."""
    torch.manual_seed(4)
    weights: Weights = {}

    def convolution(name: str, *shape: int, bias: bool = False) -> None:
        weights[f"{name}.weight"] = torch.randn(shape) / np.sqrt(np.prod(shape[1:]))
        if bias:
            weights[f"{name}.bias"] = torch.randn(shape[0]) / 10

    def norm(name: str, channels: int) -> None:
        weights[f"{name}.weight"], weights[f"{name}.bias"] = torch.rand(channels) + 0.5, torch.randn(channels) / 10
        weights[f"{name}.running_mean"], weights[f"{name}.running_var"] = (
            torch.randn(channels),
            torch.rand(channels) + 1,
        )
        weights[f"{name}.num_batches_tracked"] = torch.tensor(3)

    convolution("_conv_stem", 32, 3, 3, 3)
    norm("_bn0", 32)
    for number, (kernel, _, expand, inputs, outputs) in enumerate(blocks_of_b0()):
        name, inner = f"_blocks.{number}", inputs * expand
        if expand != 1:
            convolution(f"{name}._expand_conv", inner, inputs, 1, 1)
            norm(f"{name}._bn0", inner)
        convolution(f"{name}._depthwise_conv", inner, 1, kernel, kernel)
        norm(f"{name}._bn1", inner)
        convolution(f"{name}._se_reduce", inputs // 4, inner, 1, 1, bias=True)
        convolution(f"{name}._se_expand", inner, inputs // 4, 1, 1, bias=True)
        convolution(f"{name}._project_conv", outputs, inner, 1, 1)
        norm(f"{name}._bn2", outputs)
    convolution("_conv_head", 1280, 320, 1, 1)
    norm("_bn1", 1280)
    return weights


def blocks_of_b0() -> list[tuple[int, int, int, int, int]]:
    """Kernel, stride, expansion, input and output channels of each block (Tan and Le 2019, table 1)."""
    stages = [
        (3, 1, 1, 16, 1),
        (3, 2, 6, 24, 2),
        (5, 2, 6, 40, 2),
        (3, 2, 6, 80, 3),
        (5, 1, 6, 112, 3),
        (5, 2, 6, 192, 4),
        (3, 1, 6, 320, 1),
    ]
    blocks, channels = [], 32
    for kernel, stride, expand, outputs, repeats in stages:
        for repeat in range(repeats):
            blocks.append((kernel, stride if repeat == 0 else 1, expand, channels, outputs))
            channels = outputs
    return blocks


def efficientnet_features(weights: Weights, prefix: str, images: Tensor) -> Tensor:
    """The (n, 1280) features before the head, computed from weights under their own names."""

    def convolve(name: str, x: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
        kernel = weights[f"{prefix}{name}.weight"]
        total = max((-(-x.shape[-1] // stride) - 1) * stride + kernel.shape[-1] - x.shape[-1], 0)
        padded = f.pad(x, [total // 2, total - total // 2] * 2)
        return f.conv2d(padded, kernel, weights.get(f"{prefix}{name}.bias"), stride, groups=groups)

    def norm(name: str, x: Tensor) -> Tensor:
        mean, variance, scale, shift = (
            weights[f"{prefix}{name}.{part}"][:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(variance + 1e-3) * scale + shift

    x = f.silu(norm("_bn0", convolve("_conv_stem", images, 2)))
    for number, (_, stride, expand, inputs, outputs) in enumerate(blocks_of_b0()):
        name, before = f"_blocks.{number}", x
        if expand != 1:
            x = f.silu(norm(f"{name}._bn0", convolve(f"{name}._expand_conv", x)))
        x = f.silu(norm(f"{name}._bn1", convolve(f"{name}._depthwise_conv", x, stride, x.shape[1])))
        squeezed = f.silu(convolve(f"{name}._se_reduce", x.mean((2, 3), keepdim=True)))
        x = x * convolve(f"{name}._se_expand", squeezed).sigmoid()
        x = norm(f"{name}._bn2", convolve(f"{name}._project_conv", x))
        if stride == 1 and inputs == outputs:
            x = x + before
    return f.silu(norm("_bn1", convolve("_conv_head", x))).mean((2, 3))


def efficientnet_forward(weights: Weights, prefix: str, images: Tensor) -> Tensor:
    """The logits of the classifier over the features."""
    features = efficientnet_features(weights, prefix, images)
    return f.linear(features, weights["classifier.weight"], weights["classifier.bias"])
