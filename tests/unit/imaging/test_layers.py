"""Layers that are found by hooking a forward."""

import pytest
import timm
import torch
import torchvision
from torch import nn

from services.common.errors import InvalidInput
from services.imaging.architectures import build_skeleton, native_preprocessing
from services.imaging.capture import capture, check_layers
from services.imaging.layers import MapShape, choose_layers, describe_layers, find_layers, map_shapes

AUTO_OF = {
    "alexnet": "conv1 conv2 conv5",
    "vgg16": "conv1_2 conv2_2 conv3_3 conv4_3 conv5_3",
    "inception_v3": "Conv2d_3b_1x1 Conv2d_4a_3x3 mixed_5d mixed_6e mixed_7c",
    "resnet152": "bn1 layer1 layer2 layer3 layer4",
    "efficientnet_lite0": "block0 block1 block2 block4 block6",
    "swin_t": "features.1 features.3 features.5 features.7",
    "convnext_atto": "stages.0 stages.1 stages.2 stages.3",
    "test_vit": "block5",
    "hiera_tiny_224": "block0 block2 block9 block11",
    "pit_ti_224": "patch_embed transformers.1.blocks transformers.2.blocks",
}
SAMPLE = ["mobilenet_v3_small", "test_byobnet", "levit_128s", "xcit_nano_12_p16_224", "coat_tiny", "tiny_vit_5m_224"]
FAMILIES_OF_TIMM = [
    name
    for module in timm.list_modules()
    for names in [timm.list_models(module=module, exclude_filters="*_enc")]
    for name in sorted({*names[:1], *names[-1:]})
]


@pytest.mark.parametrize("architecture", AUTO_OF)
def test_auto_takes_the_last_layer_of_each_size(architecture: str) -> None:
    """Layers have the original's names if it has the network, else those of stages and blocks; all output maps."""
    network, size = build_skeleton(architecture, 2), native_preprocessing(architecture).size
    found = find_layers(architecture, network, ["auto"], size)
    assert list(found) == AUTO_OF[architecture].split()
    check_layers(network, found, size)


def chosen_maps(architecture: str) -> dict[str, MapShape]:
    """Build a network, check its output and its layers, and return the maps of the layers that `auto` chooses."""
    network, size = build_skeleton(architecture, 3).eval(), native_preprocessing(architecture).size
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, size, size, device=next(network.parameters()).device)).shape == (2, 3)
    maps = map_shapes(network, size)
    chosen = choose_layers(architecture, network, maps, size)
    check_layers(network, chosen | find_layers(architecture, network, [], size), size)
    return {name: maps[path] for name, path in chosen.items()}


@pytest.mark.parametrize("architecture", SAMPLE)
def test_any_network_can_be_analysed(architecture: str) -> None:
    """The maps of its layers become smaller and have more than one position each."""
    heights = [shape.height for shape in chosen_maps(architecture).values()]
    assert heights == sorted(set(heights), reverse=True)
    assert min(heights) > 1


@pytest.mark.long
@pytest.mark.parametrize("architecture", torchvision.models.list_models(module=torchvision.models))
def test_every_classifier_of_torchvision_can_be_analysed(architecture: str) -> None:
    """Each network has layers with maps, on torch's meta device."""
    assert chosen_maps(architecture)


@pytest.mark.long
@pytest.mark.parametrize("architecture", FAMILIES_OF_TIMM)
def test_every_family_of_timm_can_be_analysed(architecture: str) -> None:
    """The first and the last network of each timm module have layers with maps."""
    assert chosen_maps(architecture)


def test_an_encoder_is_no_classifier() -> None:
    """InvalidInput names it: it has no last layer to replace."""
    with pytest.raises(InvalidInput, match="deepseek_vit_412m_enc of timm is an encoder alone"):
        build_skeleton("deepseek_vit_412m_enc", 2)


def test_auto_can_be_requested_with_other_layers() -> None:
    """The layers of `auto` come first; a layer that does not exist is named."""
    network = build_skeleton("alexnet", 2)
    assert list(find_layers("alexnet", network, ["conv4", "auto"], 227)) == ["conv1", "conv2", "conv5", "conv4"]
    with pytest.raises(InvalidInput, match="has no layer 'conv9'"):
        find_layers("alexnet", network, ["auto", "conv9"], 227)


def test_layers_are_described_with_their_maps() -> None:
    """Name, path, units, size of the map at an image's size, and whether `auto` takes it."""
    assert describe_layers("alexnet", 227)[3:] == [
        ("conv4", "features.8", "256", "13x13"),
        ("conv5", "features.10", "256", "13x13", "auto"),
    ]
    assert describe_layers("resnet18", 64)[-1] == ("layer4", "layer4", "512", "2x2", "auto")


def test_a_module_that_is_called_twice_is_no_layer() -> None:
    """It has no single map. Requested by name, it raises InvalidInput."""
    network = build_skeleton("resnet18", 2)
    assert "layer1.0.relu" not in map_shapes(network, 64)
    with pytest.raises(InvalidInput, match=r"layer relu is a module that one forward calls more than once"):
        check_layers(network, {"relu": "layer1.0.relu"}, 64)


class Blocks(nn.Module):
    """A transformer's shape of output: `prefix` tokens without a place before a grid."""

    def __init__(self, prefix: int, rows: int, columns: int) -> None:
        super().__init__()
        self.num_prefix_tokens, self.shape = prefix, (rows, columns)
        self.patch_embed = nn.Identity()
        self.patch_embed.grid_size = self.shape  # type: ignore[assignment]
        self.block = nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = images.flatten(2).transpose(1, 2)
        prefix = torch.full((len(images), self.num_prefix_tokens, images.shape[1]), -1.0)
        block: torch.Tensor = self.block(torch.cat([prefix, tokens], 1))
        return block


@pytest.mark.parametrize(
    ("prefix", "rows", "columns"), [(0, 4, 4), (1, 4, 4), (2, 4, 4), (5, 6, 6), (1, 2, 8), (4, 3, 5)]
)
def test_tokens_stand_where_their_patches_were(prefix: int, rows: int, columns: int) -> None:
    """Class, distillation and register tokens are left out, and a grid need not be square."""
    images = torch.randn(2, 3, rows, columns)
    network = Blocks(prefix, rows, columns)
    with capture(network, {"block": "block"}) as acts:
        network(images)
    assert torch.equal(acts["block"], images)


def test_tokens_of_hiera_are_put_back_into_rows() -> None:
    """Hiera's blocks order tokens by mask unit. A change in one corner of the image changes that corner of the map."""
    network = timm.create_model("hiera_tiny_224", num_classes=2).eval()
    images = torch.zeros(2, 3, 224, 224)
    images[1, :, :32, 192:] = 1.0
    with capture(network, {"block0": "blocks.0"}) as acts, torch.inference_mode():
        network(images)
    changed = (acts["block0"][1] - acts["block0"][0]).abs().amax(0) > 1e-3
    assert changed[:8, 48:].all()
    assert not changed[20:, :30].any()


def test_windows_and_heads_of_attention_are_no_maps() -> None:
    """InvalidInput contains the shape of their output."""
    network = build_skeleton("swin_tiny_patch4_window7_224", 2)
    with pytest.raises(InvalidInput, match="for 2 images: windows"):
        check_layers(network, {"x": "layers.0.blocks.0.attn"}, 224)
    with pytest.raises(InvalidInput, match="expected a square map"):
        check_layers(build_skeleton("test_vit", 2), {"x": "blocks.0.attn.q_norm"}, 160)
