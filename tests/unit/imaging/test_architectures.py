"""Networks by name, their heads and their layers."""

import pytest
import torch
from torch import nn

from services.common.errors import InvalidInput
from services.imaging.architectures import (
    ORIGINAL_LAYERS,
    build_network,
    build_skeleton,
    head_path,
    input_channels,
    layer_names,
    native_preprocessing,
    resolve_layers,
    transforms_input,
)
from services.imaging.capture import capture, check_layers
from services.imaging.devices import choose_device

SMALL = [
    "alexnet",
    "resnet18",
    "squeezenet1_1",
    "mobilenet_v3_small",
    "densenet121",
    "shufflenet_v2_x0_5",
    "vit_b_32",
    "efficientnet_lite0",
    "test_resnet",
    "test_vit",
    "convnext_atto",
    "regnet_y_400mf",
    "swin_t",
    "inception_resnet_v2",
    "resnet18.a1_in1k",
]


@pytest.mark.parametrize("architecture", [*SMALL, *ORIGINAL_LAYERS])
def test_any_classifier_gets_a_new_last_layer(architecture: str) -> None:
    """The network outputs one number per class."""
    network = build_skeleton(architecture, 3).eval()
    size = 224 if architecture.startswith("vit") else native_preprocessing(architecture).size
    device = next(network.parameters()).device
    assert network(torch.zeros(2, 3, size, size, device=device)).shape == (2, 3)


@pytest.mark.parametrize("architecture", ORIGINAL_LAYERS)
def test_the_originals_layers_exist(architecture: str) -> None:
    """Every layer that the original analyses is a module, under the original's name."""
    with torch.device("meta"):
        network = build_network(architecture, 2)
    resolved = resolve_layers(architecture, network, ORIGINAL_LAYERS[architecture])
    assert list(resolved) == list(ORIGINAL_LAYERS[architecture])
    assert all(isinstance(network.get_submodule(path), nn.Module) for path in resolved.values())


@pytest.mark.parametrize("architecture", SMALL)
def test_every_network_offers_layers(architecture: str) -> None:
    """Offered layers are modules, and an empty request chooses the last two."""
    network = build_skeleton(architecture, 2)
    offered = layer_names(architecture, network)
    assert all(isinstance(network.get_submodule(path), nn.Module) for path in offered.values())
    chosen = resolve_layers(architecture, network, [])
    assert list(chosen) == list(offered)[-2:]
    size = 224 if architecture.startswith("vit") else native_preprocessing(architecture).size
    check_layers(network, chosen, size)


def test_a_layer_that_does_not_exist_names_those_that_do() -> None:
    """InvalidInput lists the offered names; a module path is accepted as it is."""
    with torch.device("meta"):
        network = build_network("alexnet", 2)
    with pytest.raises(InvalidInput, match="'conv9'; it has conv1, conv2, conv3, conv4, conv5"):
        resolve_layers("alexnet", network, ["conv9"])
    with pytest.raises(InvalidInput, match="has no layer ''"):
        resolve_layers("alexnet", network, [""])
    assert resolve_layers("alexnet", network, ["features.5", "conv5"]) == {
        "features.5": "features.5",
        "conv5": "features.10",
    }


def test_an_unknown_network_is_refused() -> None:
    """InvalidInput names it and says what is known."""
    with pytest.raises(InvalidInput, match="'alexnot' is not known; expected a torchvision classifier"):
        build_network("alexnot", 2)
    with pytest.raises(InvalidInput, match="alexnot"):
        native_preprocessing("alexnot")
    with pytest.raises(InvalidInput, match="weights 'mine'"):
        build_network("alexnet", 2, "mine")


@pytest.mark.parametrize(
    ("architecture", "pool"),
    [
        ("alexnet", nn.Identity),
        ("vgg16", nn.Identity),
        ("inception_v3", nn.AvgPool2d),
        ("resnet152", nn.AvgPool2d),
    ],
)
def test_the_papers_networks_pool_with_fixed_windows(architecture: str, pool: type[nn.Module]) -> None:
    """They differ from today's networks only in the pooling before the classifier, and have the same weights."""
    today, papers = build_skeleton(architecture, 2), build_skeleton(architecture, 2, "torchvision-0.1.9")
    assert isinstance(today.avgpool, nn.AdaptiveAvgPool2d)
    assert isinstance(papers.avgpool, pool)
    assert today.state_dict().keys() == papers.state_dict().keys()


def test_the_window_of_resnet_omits_the_last_row_and_column() -> None:
    """At 227 pixels, the last maps are 8x8, and their last row and column have no effect."""
    pool = build_skeleton("resnet152", 2, "torchvision-0.1.9").avgpool
    maps = torch.randn(1, 2, 8, 8)
    assert torch.allclose(pool(maps)[..., 0, 0], maps[..., :7, :7].mean((2, 3)))
    assert pool(maps).shape == (1, 2, 1, 1)


def test_a_network_that_torchvision_0_1_9_pooled_otherwise_is_refused() -> None:
    """InvalidInput names it and those that are known."""
    with pytest.raises(InvalidInput, match=r"'efficientnet_lite0' has no semantics torchvision-0\.1\.9; only alexnet"):
        build_skeleton("efficientnet_lite0", 2, "torchvision-0.1.9")


@pytest.mark.parametrize("architecture", ["inception_v3", "googlenet"])
def test_inception_normalises_its_input_as_its_weights_require(architecture: str) -> None:
    """It does so only with ImageNet weights; a checkpoint can set it either way."""
    assert transforms_input(architecture, "imagenet")
    assert not transforms_input(architecture, "none")
    assert not transforms_input("resnet152", "imagenet")
    with torch.device("meta"):
        assert build_network(architecture, 2).transform_input is False
        assert build_network(architecture, 2, transform_input=True).transform_input is True


@pytest.mark.parametrize("architecture", ["alexnet", "resnet18", "vit_b_32", "efficientnet_lite0", "test_vit"])
def test_a_network_can_have_one_channel(architecture: str) -> None:
    """It accepts grey images, and preprocessing produces them."""
    network, seen = build_skeleton(architecture, 3, channels=1).eval(), native_preprocessing(architecture, channels=1)
    images = seen.normalise(torch.zeros(2, seen.size, seen.size, dtype=torch.uint8)).to("meta")
    assert network(images).shape == (2, 3)
    assert input_channels(network) == 1


def test_imagenet_weights_of_one_channel_are_the_sum_over_three() -> None:
    """Grey images without normalisation give the same maps through either first convolution."""
    colour, grey = (
        build_network("efficientnet_lite0", 2, "imagenet"),
        build_network("efficientnet_lite0", 2, "imagenet", channels=1),
    )
    image = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(colour.conv_stem(image.expand(-1, 3, -1, -1)), grey.conv_stem(image), atol=1e-5)


def test_a_network_that_cannot_have_one_channel_is_refused() -> None:
    """Inception with ImageNet weights needs three channels."""
    with torch.device("meta"), pytest.raises(InvalidInput, match="inception_v3 with ImageNet's weights takes three"):
        build_network("inception_v3", 2, transform_input=True, channels=1)


def test_an_image_size_that_a_network_does_not_accept_is_refused() -> None:
    """InvalidInput names the network and the size, also if the network uses an assertion."""
    for network, size in (
        (build_skeleton("alexnet", 2, "torchvision-0.1.9"), 299),
        (build_skeleton("vit_b_32", 2), 227),
    ):
        with pytest.raises(InvalidInput, match=f"accepts no images of {size} x {size} pixels"):
            check_layers(network, {}, size)


def test_a_network_without_a_head_is_refused() -> None:
    """There must be a last linear layer to replace."""
    with pytest.raises(InvalidInput, match="no last linear layer"):
        head_path(nn.Sequential(nn.Conv2d(3, 4, 3)))


def test_a_device_that_does_not_exist_is_refused() -> None:
    """`auto` always works; CUDA is refused without a CUDA device, and an unknown device always."""
    assert choose_device("auto").type in ("cpu", "cuda")
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(InvalidInput, match="expected auto, cpu"):
        choose_device("gpu please")
    if not torch.cuda.is_available():
        with pytest.raises(InvalidInput, match="no CUDA device"):
            choose_device("cuda")


def test_units_of_a_swin_are_its_channels() -> None:
    """Swin outputs B x H x W x C, and its units are the C channels."""
    for architecture, layer, units in (
        ("swin_t", "features.7", 768),
        ("swin_tiny_patch4_window7_224", "layers.3", 768),
    ):
        network = build_skeleton(architecture, 2).eval()
        with capture(network, {layer: layer}) as acts:
            network(torch.zeros(1, 3, 224, 224, device="meta"))
        assert acts[layer].shape == (1, units, 7, 7), architecture


@pytest.mark.parametrize(
    ("architecture", "layer", "message"),
    [
        ("alexnet", "classifier.6", r"layer classifier\.6 outputs \[2, 2\]"),
        ("vit_b_32", "encoder.layers.encoder_layer_0.self_attention.out_proj", "never calls"),
    ],
)
def test_a_layer_without_maps_is_refused_before_it_is_extracted(architecture: str, layer: str, message: str) -> None:
    """A flat layer, and a module that the forward never calls, are named."""
    network = build_skeleton(architecture, 2)
    with pytest.raises(InvalidInput, match=message):
        check_layers(network, {layer: layer}, 224)
