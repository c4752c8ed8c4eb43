"""Receptive fields, compared with values computed by hand and with a network that is probed row by row."""

import pytest
import torch
from torch import nn

from services.imaging.architectures import ORIGINAL_LAYERS, build_network
from services.imaging.manifests import ReceptiveField
from services.imaging.receptive_field import receptive_field

CPU = torch.device("cpu")

BY_HAND = {
    "alexnet": {
        "conv1": (11, 4, -2),
        "conv2": (51, 8, -18),
        "conv3": (99, 16, -34),
        "conv4": (131, 16, -50),
        "conv5": (163, 16, -66),
    },
    "vgg16": {"conv1_2": (5, 1, -2), "conv5_3": (196, 16, -90)},
    "resnet152": {"bn1": (7, 2, -3), "layer1": (35, 4, -17), "layer2": (155, 8, -77)},
}
"""Size, stride and start: size grows by (kernel - 1) x stride so far, start falls by padding x stride so far."""


@pytest.mark.parametrize("architecture", BY_HAND)
def test_fields_equal_those_computed_by_hand(architecture: str) -> None:
    """Size, stride and start of the original's layers, at 227 pixels."""
    network = build_network(architecture, 2).eval()
    for layer, (size, stride, start) in BY_HAND[architecture].items():
        found = receptive_field(network, ORIGINAL_LAYERS[architecture][layer], 227, CPU)
        assert found == ReceptiveField(size=size, stride=stride, start=start), layer


def test_a_field_does_not_depend_on_the_weights() -> None:
    """NaN weights do not change the field, and stay unchanged."""
    network = build_network("alexnet", 2).eval()
    for weight in network.parameters():
        nn.init.constant_(weight, float("nan"))
    assert receptive_field(network, "features.10", 227, CPU) == ReceptiveField(size=163, stride=16, start=-66)
    assert all(weight.isnan().all() for weight in network.parameters())


class Branches(nn.Module):
    """Two branches with different fields, an uneven pooling and a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 4, 5, 2, 1), nn.BatchNorm2d(4), nn.SiLU(), nn.MaxPool2d(3, 2, ceil_mode=True)
        )
        self.wide = nn.Conv2d(4, 4, (3, 1), padding=(2, 0), dilation=2, groups=2)
        self.skip = nn.Conv2d(4, 4, 1)
        self.maps = nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        stem = self.stem(images)
        maps: torch.Tensor = self.maps(self.wide(stem) + self.skip(stem))
        return maps


def test_a_field_contains_the_pixels_that_affect_a_position() -> None:
    """NaN in one row of pixels appears at exactly the positions whose field contains the row."""
    size, network = 61, Branches().double().eval()
    with torch.no_grad():
        clean = network(torch.zeros(1, 3, size, size, dtype=torch.float64))
    field = receptive_field(network.float(), "maps", size, CPU)
    assert field is not None
    network = network.double()
    for row in range(size):
        images = torch.zeros(1, 3, size, size, dtype=torch.float64)
        images[:, :, row] = torch.nan
        with torch.no_grad():
            affected = network(images)[0, :, :, 0].isnan().any(0)
        first = field.start + field.stride * torch.arange(clean.shape[2])
        # The field contains what any path sees; a dilated path skips rows, but never the outermost.
        assert not (affected & ~((first <= row) & (row < first + field.size))).any(), row
        assert affected[(first == row) | (first + field.size - 1 == row)].all(), row


@pytest.mark.parametrize(
    ("architecture", "layer", "size"),
    [
        ("resnet18", "layer4", 227),  # a field larger than the image
        ("mobilenet_v3_small", "features.1", 224),  # squeeze-excitation
        ("vit_b_32", "encoder", 224),  # attention
        ("swin_t", "features.1", 224),  # windows of attention
        ("alexnet", "classifier.6", 227),  # no map
    ],
)
def test_a_layer_without_local_fields_has_none(architecture: str, layer: str, size: int) -> None:
    """The result is None for a field of the full image, for uneven fields, and for a layer without a map."""
    assert receptive_field(build_network(architecture, 2).eval(), layer, size, CPU) is None


def test_a_larger_image_reveals_a_larger_field() -> None:
    """The field of ResNet-18's last layer is 435 pixels, which an image of 512 pixels can contain."""
    network = build_network("resnet18", 2).eval()
    assert receptive_field(network, "layer4", 512, CPU) == ReceptiveField(size=435, stride=32, start=-217)


@pytest.mark.parametrize("first", ["field", "forward"])
def test_measuring_a_field_changes_no_forward(first: str) -> None:
    """LeViT caches its attention biases between forwards. Real forwards and forwards with ones do not share a cache."""
    network = build_network("levit_128s", 2).eval()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.endswith("attention_biases"):
                nn.init.normal_(weight, std=3.0)
            elif name.endswith("bn.weight"):
                nn.init.ones_(weight)  # some begin as zeros, and let nothing of attention through
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = build_network("levit_128s", 2).eval()
        expected.load_state_dict(network.state_dict())
        wanted = expected(images)
        if first == "forward":
            network(images)
    other = build_network("levit_128s", 2).eval()
    fields = [receptive_field(one, "stages.1", 224, CPU) for one in (network, other)]
    assert fields[0] == fields[1]
    with torch.inference_mode():
        assert torch.equal(network(images), wanted)
