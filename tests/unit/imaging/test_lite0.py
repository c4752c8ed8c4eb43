"""The ImageNet weights of the package, under timm's names."""

import pytest
import timm
import torch
from sklearn.datasets import load_sample_image
from torch.nn.functional import interpolate

from services.common.errors import InvalidInput
from services.imaging.lite0 import _timm_name, load_imagenet_lite0

BELL_COTE, PALACE = 442, 698


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    network: torch.nn.Module = timm.create_model("efficientnet_lite0")
    network.load_state_dict(load_imagenet_lite0(), strict=True)
    return network.eval()


def test_weights_fill_every_tensor_of_the_network(network):
    """The state dict loads strictly, so every tensor has its place and its shape."""
    assert load_imagenet_lite0().keys() == network.state_dict().keys()


def test_weights_recognise_a_palace(network):
    """A photograph of the Summer Palace is seen as palace and bell cote, so no two weights are swapped."""
    photograph = torch.tensor(load_sample_image("china.jpg")[:, 106:533]).permute(2, 0, 1)[None].float()
    image = interpolate(photograph, (224, 224), mode="bilinear", antialias=True) / 255.0
    with torch.inference_mode():
        top = network((image - 0.5) / 0.5)[0].topk(2).indices
    assert set(top.tolist()) == {BELL_COTE, PALACE}


def test_block_numbers_become_stages():
    """The package counts blocks through; timm counts them stage by stage."""
    assert _timm_name("_blocks.3._expand_conv.weight") == "blocks.2.0.conv_pw.weight"
    assert _timm_name("_blocks.15._bn2.running_var") == "blocks.6.0.bn3.running_var"


@pytest.mark.parametrize("name", ["_gate.weight", "_blocks.16._bn0.weight", "_blocks.0._expand_conv.weight"])
def test_unknown_weights_are_named(name):
    """A weight that EfficientNet-Lite0 does not have raises InvalidInput with its name."""
    with pytest.raises(InvalidInput, match=name):
        _timm_name(name)
