"""The original's four networks as torchvision 0.1.9 had them, written from their papers, and its checkpoint files.

They share no code with torchvision or with the services: what they put out is what the services must put out.
"""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class AlexNet(nn.Module):
    """Takes 224 to 254 pixels: 6x6 maps go to the classifier as they are."""

    side = 227

    def __init__(self, classes: int) -> None:
        super().__init__()
        pool = nn.MaxPool2d(3, 2)
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), pool, nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(), pool,
            nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(), nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(), pool,
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(),
            nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, classes),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images).flatten(1))

    def layers(self) -> dict[str, nn.Module]:
        return {f"conv{n}": self.features[m] for n, m in zip((1, 2, 3, 4, 5), (0, 3, 6, 8, 10), strict=True)}


class Vgg16(nn.Module):
    """7x7 maps go to the classifier as they are."""

    side = 227

    def __init__(self, classes: int) -> None:
        super().__init__()
        features: list[nn.Module] = []
        before = 3
        for width, convolutions in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            for _ in range(convolutions):
                features += [nn.Conv2d(before, width, 3, 1, 1), nn.ReLU()]
                before = width
            features.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096), nn.ReLU(), nn.Dropout(),
            nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, classes),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images).flatten(1))

    def layers(self) -> dict[str, nn.Module]:
        places = {"conv1_2": 2, "conv2_2": 7, "conv3_3": 14, "conv4_3": 21, "conv5_3": 28}
        return {name: self.features[place] for name, place in places.items()}


class Bottleneck(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        after = 4 * width
        self.conv1, self.bn1 = nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, after, 1, bias=False), nn.BatchNorm2d(after)
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, maps: Tensor) -> Tensor:
        inner = functional.relu(self.bn1(self.conv1(maps)))
        inner = self.bn3(self.conv3(functional.relu(self.bn2(self.conv2(inner)))))
        return functional.relu(inner + (self.downsample(maps) if hasattr(self, "downsample") else maps))


class ResNet152(nn.Module):
    """The last maps, 8x8 at 227 pixels, are averaged by a 7x7 window with stride 7: their upper left corner."""

    side = 227

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        before = 64
        for number, (width, blocks) in enumerate(((64, 3), (128, 8), (256, 36), (512, 3)), 1):
            stride = 1 if number == 1 else 2
            layer = [Bottleneck(before, width, stride), *(Bottleneck(4 * width, width, 1) for _ in range(blocks - 1))]
            self.add_module(f"layer{number}", nn.Sequential(*layer))
            before = 4 * width
        self.fc = nn.Linear(before, classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = functional.max_pool2d(functional.relu(self.bn1(self.conv1(images))), 3, 2, 1)
        maps = self.layer4(self.layer3(self.layer2(self.layer1(maps))))
        return self.fc(functional.avg_pool2d(maps, 7, 7).flatten(1))

    def layers(self) -> dict[str, nn.Module]:
        return {name: getattr(self, name) for name in ("bn1", "layer1", "layer2", "layer3", "layer4")}


class Unit(nn.Module):
    """Inception's convolution: normalised with an epsilon of its own, and rectified."""

    def __init__(self, before: int, after: int, kernel: Any, stride: int = 1, padding: Any = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(after, eps=0.001)

    def forward(self, maps: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(maps)))


def average3(maps: Tensor) -> Tensor:
    return functional.avg_pool2d(maps, 3, 1, 1)


class Mixed(nn.Module):
    """Branches side by side: each a chain of units; a unit that is a pair forks, and a function is applied as it is."""

    def __init__(self, branches: list[list[Any]], **units: Unit) -> None:
        super().__init__()
        for name, unit in units.items():
            self.add_module(name, unit)
        self.branches = branches

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([self._follow(branch, maps) for branch in self.branches], 1)

    def _follow(self, branch: list[Any], maps: Tensor) -> Tensor:
        for step in branch:
            if isinstance(step, tuple):
                maps = torch.cat([getattr(self, name)(maps) for name in step], 1)
            else:
                maps = step(maps) if callable(step) else getattr(self, step)(maps)
        return maps


def mixed_5(before: int, pooled: int) -> Mixed:
    return Mixed(
        [["branch1x1"], ["branch5x5_1", "branch5x5_2"], ["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"],
         [average3, "branch_pool"]],
        branch1x1=Unit(before, 64, 1), branch5x5_1=Unit(before, 48, 1), branch5x5_2=Unit(48, 64, 5, 1, 2),
        branch3x3dbl_1=Unit(before, 64, 1), branch3x3dbl_2=Unit(64, 96, 3, 1, 1), branch3x3dbl_3=Unit(96, 96, 3, 1, 1),
        branch_pool=Unit(before, pooled, 1),
    )  # fmt: skip


def shrink(maps: Tensor) -> Tensor:
    return functional.max_pool2d(maps, 3, 2)


def mixed_6a() -> Mixed:
    return Mixed(
        [["branch3x3"], ["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"], [shrink]],
        branch3x3=Unit(288, 384, 3, 2), branch3x3dbl_1=Unit(288, 64, 1), branch3x3dbl_2=Unit(64, 96, 3, 1, 1),
        branch3x3dbl_3=Unit(96, 96, 3, 2),
    )  # fmt: skip


def mixed_6(wide: int) -> Mixed:
    row, column = {"kernel": (1, 7), "padding": (0, 3)}, {"kernel": (7, 1), "padding": (3, 0)}
    return Mixed(
        [["branch1x1"], ["branch7x7_1", "branch7x7_2", "branch7x7_3"],
         [f"branch7x7dbl_{n}" for n in range(1, 6)], [average3, "branch_pool"]],
        branch1x1=Unit(768, 192, 1),
        branch7x7_1=Unit(768, wide, 1), branch7x7_2=Unit(wide, wide, **row), branch7x7_3=Unit(wide, 192, **column),
        branch7x7dbl_1=Unit(768, wide, 1), branch7x7dbl_2=Unit(wide, wide, **column),
        branch7x7dbl_3=Unit(wide, wide, **row), branch7x7dbl_4=Unit(wide, wide, **column),
        branch7x7dbl_5=Unit(wide, 192, **row), branch_pool=Unit(768, 192, 1),
    )  # fmt: skip


def mixed_7a() -> Mixed:
    return Mixed(
        [["branch3x3_1", "branch3x3_2"], [f"branch7x7x3_{n}" for n in range(1, 5)], [shrink]],
        branch3x3_1=Unit(768, 192, 1), branch3x3_2=Unit(192, 320, 3, 2), branch7x7x3_1=Unit(768, 192, 1),
        branch7x7x3_2=Unit(192, 192, (1, 7), 1, (0, 3)), branch7x7x3_3=Unit(192, 192, (7, 1), 1, (3, 0)),
        branch7x7x3_4=Unit(192, 192, 3, 2),
    )  # fmt: skip


def mixed_7(before: int) -> Mixed:
    return Mixed(
        [["branch1x1"], ["branch3x3_1", ("branch3x3_2a", "branch3x3_2b")],
         ["branch3x3dbl_1", "branch3x3dbl_2", ("branch3x3dbl_3a", "branch3x3dbl_3b")], [average3, "branch_pool"]],
        branch1x1=Unit(before, 320, 1), branch3x3_1=Unit(before, 384, 1),
        branch3x3_2a=Unit(384, 384, (1, 3), 1, (0, 1)), branch3x3_2b=Unit(384, 384, (3, 1), 1, (1, 0)),
        branch3x3dbl_1=Unit(before, 448, 1), branch3x3dbl_2=Unit(448, 384, 3, 1, 1),
        branch3x3dbl_3a=Unit(384, 384, (1, 3), 1, (0, 1)), branch3x3dbl_3b=Unit(384, 384, (3, 1), 1, (1, 0)),
        branch_pool=Unit(before, 192, 1),
    )  # fmt: skip


class InceptionV3(nn.Module):
    """Turns ImageNet's normalisation into its own; its auxiliary head, of ImageNet's classes, is never called."""

    side = 299

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.Conv2d_1a_3x3, self.Conv2d_2a_3x3 = Unit(3, 32, 3, 2), Unit(32, 32, 3)
        self.Conv2d_2b_3x3, self.Conv2d_3b_1x1 = Unit(32, 64, 3, 1, 1), Unit(64, 80, 1)
        self.Conv2d_4a_3x3 = Unit(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = mixed_5(192, 32), mixed_5(256, 64), mixed_5(288, 64)
        self.Mixed_6a = mixed_6a()
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = map(mixed_6, (128, 160, 160, 192))
        self.AuxLogits = nn.Module()
        self.AuxLogits.conv0, self.AuxLogits.conv1 = Unit(768, 128, 1), Unit(128, 768, 5)
        self.AuxLogits.fc = nn.Linear(768, 1000)
        self.Mixed_7a, self.Mixed_7b, self.Mixed_7c = mixed_7a(), mixed_7(1280), mixed_7(2048)
        self.fc = nn.Linear(2048, classes)

    def forward(self, images: Tensor) -> Tensor:
        scale, shift = torch.tensor(STD).div(0.5), torch.tensor(MEAN).sub(0.5).div(0.5)
        maps = images * scale.view(1, 3, 1, 1) + shift.view(1, 3, 1, 1)
        maps = shrink(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(maps))))
        maps = shrink(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(maps)))
        for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"):
            maps = getattr(self, f"Mixed_{name}")(maps)
        return self.fc(functional.avg_pool2d(maps, 8).flatten(1))

    def layers(self) -> dict[str, nn.Module]:
        return {f"mixed_{n}": getattr(self, f"Mixed_{n}") for n in ("5d", "6a", "6e", "7a", "7c")}


NETWORKS = {"alexnet": AlexNet, "vgg16": Vgg16, "inception_v3": InceptionV3, "resnet152": ResNet152}


def make_network(model: str, classes: int, seed: int = 0) -> nn.Module:
    """A network whose random weights keep signals of about one size, so that every layer counts in what it puts out."""
    torch.manual_seed(seed)
    with torch.device("meta"):
        network: nn.Module = NETWORKS[model](classes)
    network = network.to_empty(device="cpu").eval()
    with torch.no_grad():
        for name, module in network.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                last = isinstance(module, nn.Linear) and module.out_features == classes
                module.weight.normal_(0, math.sqrt(2 / module.weight[0].numel()) * (0.3 if last else 1))
                if module.bias is not None:
                    module.bias.normal_(0, 0.1)
            elif isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5).mul_(0.2 if name.endswith("bn3") else 1)
                module.bias.normal_(0, 0.1)
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                module.num_batches_tracked.fill_(3)
    return network


def save_checkpoint(network: nn.Module, path: Path, epoch: int, momentum: bool = False) -> None:
    """The original's file of a network: DataParallel's names, the state of SGD, and the file format of PyTorch 1.0.

    `momentum` puts a buffer beside every weight that training reaches: each is the weight times 0.5.
    """
    weights = {parallel_name(network, name): value for name, value in network.state_dict().items()}
    parameters = list(enumerate(network.named_parameters(), 1000))  # PyTorch 1.0 numbered them by their addresses
    state = {
        id_: {"momentum_buffer": value.detach() * 0.5}
        for id_, (name, value) in parameters
        if momentum and not name.startswith("AuxLogits.")
    }
    group = {"lr": 1e-4, "momentum": 0.9, "dampening": 0, "weight_decay": 1e-4, "nesterov": False}
    optimizer = {"state": state, "param_groups": [group | {"params": [id_ for id_, _ in parameters]}]}
    content = {"epoch": epoch, "state_dict": weights, "optimizer": optimizer}
    torch.save(content, path, _use_new_zipfile_serialization=False)


def parallel_name(network: nn.Module, name: str) -> str:
    """A weight's name where DataParallel wraps the features of AlexNet and VGG, and the whole of the others."""
    if hasattr(network, "features"):
        return name.replace("features.", "features.module.", 1)
    return f"module.{name}"


def read_image(image: bytes, side: int) -> Tensor:
    """An encoded patch as the (3, side, side) input of a network: scaled by PIL, with ImageNet's normalisation."""
    pixels = Image.open(io.BytesIO(image)).convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    array = np.asarray(pixels, dtype=np.float32).transpose(2, 0, 1) / 255
    return torch.from_numpy((array - np.float32(MEAN).reshape(3, 1, 1)) / np.float32(STD).reshape(3, 1, 1))


@torch.inference_mode()
def outputs(network: Any, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """(batch, classes) logits, and by layer the (batch, units) largest values of its maps, in one forward."""
    maxima: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda _module, _inputs, maps: maxima.__setitem__(name, maps.amax((2, 3)))

    handles = [module.register_forward_hook(keep(name)) for name, module in network.layers().items()]
    logits = network(images)
    for handle in handles:
        handle.remove()
    return logits, maxima
