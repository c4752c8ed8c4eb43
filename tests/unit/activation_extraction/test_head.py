"""The linear head of a network, and the layer that it reads."""

import numpy as np
import pytest

from services.activation_extraction.head import head_weights
from services.imaging.architectures import build_network, head_path


def test_the_head_reads_the_window_that_the_papers_network_averages() -> None:
    """head_weights returns the head's weights for layer4 of the paper's ResNet, whose last maps are 8x8 at 227 pixels,
    and which averages 7x7 of them."""
    network = build_network("resnet18", 3, semantics="torchvision-0.1.9").eval()
    weights = head_weights(network, "layer4", 227)
    assert weights is not None and np.array_equal(weights, network.fc.weight.detach().numpy())
    assert head_weights(network, "layer4.0.conv1", 227) is None
    assert head_weights(network, "avgpool", 227) is not None


@pytest.mark.parametrize(
    ("architecture", "module", "is_read"),
    [
        ("resnet18", "layer4", True),
        ("resnet18", "layer4.0.conv1", False),
        ("efficientnet_lite0", "bn2", True),
        ("test_vit", "blocks.0", False),
        ("alexnet", "features.10", False),
    ],
)
def test_only_the_layer_that_the_head_reads_has_weights(architecture: str, module: str, is_read: bool) -> None:
    """head_weights returns None unless the last layer multiplies the averaged maps of the module. Equal width is not
    enough."""
    network = build_network(architecture, 3).eval()
    weights = head_weights(network, module, 160)
    assert (weights is not None) == is_read
    if weights is not None:
        assert np.array_equal(weights, network.get_submodule(head_path(network)).weight.detach().numpy())
