"""Small classifiers of each structure that matters for a ranking, and contexts of analyses of them."""

from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from services.activation_extraction.analyses.context import Context
from services.common.blobs import FolderBlobs, ObjectRef
from services.imaging.architectures import resolve_layers
from services.imaging.capture import capture
from services.imaging.checkpoint import load_network, open_checkpoint
from services.imaging.manifests import ExtractedLayer, ExtractionManifest, NetworkRef
from tests.fakes.data import store_checkpoint

CLASSES = 3


class Pooled(nn.Module):
    """Convolutions, their averages, and one linear layer. A ReLU works in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 5, 3, 2), nn.Conv2d(5, 7, 3)
        self.relu = nn.ReLU(inplace=True)
        self.last = nn.Sequential(nn.Conv2d(7, 6, 1), nn.ReLU())
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(6, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.last(self.relu(self.conv2(self.relu(self.conv1(images)))))
        return self.fc(self.avgpool(maps).flatten(1))


class Classified(nn.Module):
    """Like AlexNet: a `classifier` reads the maps of `features` position by position."""

    def __init__(self, side: int = 20) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(inplace=True), nn.Conv2d(4, 5, 3, 1, 1))
        positions = ((side + 1) // 2) ** 2
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Linear(5 * positions, 11), nn.ReLU(inplace=True), nn.Linear(11, CLASSES)
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images).flatten(1))


class Block(nn.Module):
    """Two convolutions with a connection around them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(width, width, 3, 1, 1), nn.Conv2d(width, width, 3, 1, 1)

    def forward(self, maps: Tensor) -> Tensor:
        return (maps + self.conv2(self.conv1(maps).relu())).relu()


class Residual(nn.Module):
    """Blocks with skip connections, in which a batch of another size cannot be added to the skipped one."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, 2)
        self.blocks = nn.Sequential(Block(6), Block(6))
        self.fc = nn.Linear(6, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.blocks(self.stem(images)).mean((2, 3)))


class UnitsLast(nn.Module):
    """A network with a layer, `mix`, whose output has the units along the last axis."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mix, self.fc = nn.Conv2d(3, 4, 3, 2), nn.Linear(4, 6), nn.Linear(6, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.mix(self.stem(images).permute(0, 2, 3, 1)).relu().mean((1, 2)))


class LongWay(nn.Module):
    """A connection around the whole `body`, so that copies must begin at the network's input."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, 2)
        self.body = nn.Sequential(nn.Conv2d(6, 6, 3, 1, 1), nn.ReLU())
        self.fc = nn.Linear(6, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        first = self.stem(images)
        return self.fc((first * self.body(first)).mean((2, 3)))


def make(kind: type[nn.Module], seed: int = 0) -> nn.Module:
    """A network in float64, with random weights that float32 can represent."""
    torch.manual_seed(seed)
    return kind().eval().double()


def context_of(
    folder: Path, blobs: FolderBlobs, stored: tuple[Any, ObjectRef], settings: BaseModel, architecture: str = "resnet18"
) -> Context[Any]:
    """A context with a network of random weights. Its manifest names the layers, but has no results."""
    data, dataset = stored
    checkpoint, _ = store_checkpoint(blobs, data.manifest, architecture, 32)
    trained = open_checkpoint(blobs, checkpoint)
    network = load_network(blobs, trained)
    modules = resolve_layers(architecture, network, ["layer3", "layer4"])
    with capture(network, modules) as acts, torch.inference_mode():
        network(torch.zeros(1, 3, 32, 32))
    no_object = ObjectRef(bucket="none", key="none", sha256="", size=0)
    refs = dict.fromkeys(("top", "sample", "correlation", "statistics", "ranking"), no_object)
    layers = [
        ExtractedLayer(name=name, module=module, units=units, height=height, width=width, maxima=(), **refs,
                       ranking_method="none")
        for name, module in modules.items() for _, units, height, width in [acts[name].shape]
    ]  # fmt: skip
    manifest = ExtractionManifest(
        extraction_id="extraction-1",
        network=NetworkRef(
            architecture=architecture, classes=trained.classes, run_id="", checkpoint_id="", checkpoint=checkpoint
        ),
        image_size=32,
        dataset=dataset,
        split="val",
        patches=data.manifest.splits["val"],
        top_k=1,
        layers=tuple(layers),
    )
    return Context(blobs, manifest, torch.device("cpu"), 5, settings)
