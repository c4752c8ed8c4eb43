"""Influence over whole mammograms, and the fully convolutional form that it needs."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from services.activation_extraction.analyses import influence as module
from services.activation_extraction.analyses.fully_convolutional import as_whole
from services.activation_extraction.analyses.influence import (
    Influence,
    InfluenceSettings,
    influences,
    mammograms_of,
    read_mammogram,
    scale_of,
)
from services.activation_extraction.head import head_weights
from services.common.blobs import Blobs, FolderBlobs, ObjectRef
from services.common.errors import InvalidInput
from services.imaging.architectures import build_network
from services.imaging.capture import capture
from services.imaging.dataset import Dataset
from services.imaging.dataset_writer import DatasetWriter
from services.imaging.patches import Box, Mammogram, Patch
from tests.fakes.data import ignore_progress, store_dataset
from tests.fakes.ddsm import jpeg
from tests.unit.activation_extraction.analyses.networks import CLASSES, Classified, Pooled, Residual, context_of, made

SIDE = 20
SHAPES = [(60, 44), (80, 90), (44, 60)]
"""Of the mammograms, in pixels."""


@pytest.mark.parametrize(
    ("architecture", "size", "semantics", "trunk"),
    [
        ("alexnet", 227, "current", "features"),
        ("alexnet", 227, "torchvision-0.1.9", "features"),
        ("resnet18", 64, "current", "layer4"),
        ("squeezenet1_1", 64, "current", "classifier.2"),
        ("efficientnet_lite0", 64, "current", "bn2"),
        ("mobilenet_v3_small", 64, "current", None),
        ("test_vit", 160, "current", None),
    ],
)
def test_networks_become_fully_convolutional(architecture: str, size: int, semantics: str, trunk: str | None) -> None:
    """On an image of the network's own size the averaged logits are the network's; a larger one is read at more places.
    A network that has no such form is refused, and what can rank its units is named."""
    network = build_network(architecture, CLASSES, semantics=semantics).eval()
    if trunk is None:
        with pytest.raises(InvalidInput, match=r"cannot be made fully convolutional.*rank its units by gradient"):
            as_whole(network, size)
        return
    whole = as_whole(network, size)
    assert whole.trunk == trunk
    images = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        torch.testing.assert_close(whole.logits(images).mean((2, 3)), network(images), rtol=1e-3, atol=1e-4)
        assert whole.logits(torch.randn(1, 3, size, 2 * size)).shape[3] > whole.logits(images).shape[3]
    assert not any(one._forward_hooks for one in network.modules())


def test_the_papers_resnet_averages_a_window_and_reads_whole_images_all_the_same() -> None:
    """ResNet of torchvision 0.1.9 averages 7x7 of its 8x8 maps at 227 pixels: its logits are the mean over these."""
    network = build_network("resnet18", CLASSES, semantics="torchvision-0.1.9").eval()
    image = torch.randn(1, 3, 227, 227)
    whole = as_whole(network, 227)
    with torch.inference_mode():
        places = whole.logits(image)
        assert places.shape == (1, CLASSES, 8, 8)
        torch.testing.assert_close(places[:, :, :7, :7].mean((2, 3)), network(image), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", [Classified, Residual])
def test_a_place_is_a_window_of_the_networks_own_input(kind: type[nn.Module]) -> None:
    """Where no padding reaches, a place of the logits is what the network says of the window there; checked for the
    network whose layers leave the borders alone."""
    network = made(kind)
    whole = as_whole(network, SIDE)
    image = torch.randn(1, 3, SIDE + 8, SIDE + 6).double()
    with torch.inference_mode():
        places = whole.logits(image)
        trunk = network.get_submodule(whole.trunk)
        maps = trunk(image) if kind is Classified else network.blocks(network.stem(image))
        side = maps.shape[2] - places.shape[2] + 1
        expected = torch.stack([
            torch.stack([
                whole.head(maps[:, :, row : row + side, column : column + side]).flatten()
                for column in range(places.shape[3])
            ])
            for row in range(places.shape[2])
        ])  # fmt: skip
    torch.testing.assert_close(places[0].permute(1, 2, 0), expected)


def test_influence_is_largest_activation_times_weight() -> None:
    """Over a whole image, for the layer that the pooled linear head reads; elsewhere it is the slope of the class's
    largest logit along the unit's scale."""
    network = made(Pooled)
    weights = torch.from_numpy(head_weights(network, "last", SIDE))
    whole = as_whole(network, SIDE)
    image = torch.randn(1, 3, 4 * SIDE, 5 * SIDE).double()
    found = influences(whole, {"last": "last", "conv2": "conv2"}, {"conv2": 1}, {"last": weights}, image)
    with capture(network, {"last": "last"}) as acts, torch.inference_mode():
        network(image)
    torch.testing.assert_close(found["last"], weights * acts["last"].amax((2, 3)))
    for unit in range(7):
        peaks = []
        for scale in (1 + 1e-6, 1 - 1e-6):

            def stretch(_module: nn.Module, _inputs: object, maps: torch.Tensor, scale: float = scale) -> torch.Tensor:
                maps = maps.clone()
                maps[:, unit] *= scale  # noqa: B023
                return maps

            handle = network.conv2.register_forward_hook(stretch)
            with torch.inference_mode():
                peaks.append(whole.logits(image)[0].amax((1, 2)))
            handle.remove()
        torch.testing.assert_close(found["conv2"][:, unit], (peaks[0] - peaks[1]) / 2e-6, rtol=1e-4, atol=1e-8)


def test_little_memory_changes_no_number() -> None:
    """What is computed anew in the backward pass gives the gradients of a network that keeps everything: layers inside
    a block, a block, and the blocks together."""
    network = build_network("resnet18", CLASSES).eval()
    layers = {module: module for module in ("bn1", "layer1", "layer2.0.conv1", "layer3.1", "layer4")}
    image = torch.randn(1, 3, 96, 128)
    found = influences(as_whole(network, 64), layers, dict.fromkeys(layers, 1), {}, image)
    acts: dict[str, torch.Tensor] = {}

    def keep(name: str, _module: nn.Module, _inputs: object, maps: torch.Tensor) -> torch.Tensor:
        acts[name] = maps
        return maps.clone()

    handles = [
        network.get_submodule(module).register_forward_hook(partial(keep, name)) for name, module in layers.items()
    ]
    network.avgpool, network.fc, head = nn.Identity(), nn.Identity(), network.fc
    network.requires_grad_(True)
    maps = network(image).unflatten(1, (512, 3, 4))
    places = torch.nn.functional.conv2d(maps, head.weight[:, :, None, None], head.bias)[0].flatten(1)
    for label in range(CLASSES):
        gradients = torch.autograd.grad(places[label].max(), list(acts.values()), retain_graph=True)
        for (name, maps), gradient in zip(acts.items(), gradients, strict=True):
            torch.testing.assert_close(
                found[name][label], (maps * gradient).sum((0, 2, 3)).detach().double(), rtol=1e-3, atol=1e-5
            )
    for handle in handles:
        handle.remove()
    assert all("forward" not in vars(module) for module in network.modules())


def store_mammograms(blobs: Blobs) -> tuple[Dataset, ObjectRef]:
    """A data set of three mammograms with two patches each, of which one is of another split."""
    rng = np.random.default_rng(2)
    with DatasetWriter(blobs, "training", "whole", ("normal", "benign", "cancer")) as writer:
        for split in ("train", "val"):
            for number, (height, width) in enumerate(SHAPES):
                if (split == "train") != (number == 0):
                    continue
                image = jpeg(rng.integers(0, 256, (height, width)).astype(np.uint8))
                name = f"mammogram-{number}"
                writer.add_mammogram(Mammogram(name, split, "LEFT", "CC", height, width, image))
                for place in range(2):
                    box, grey = Box(place, 0, 16, 16), np.full((16, 16), 90 * place, np.uint8)
                    writer.add_patch(Patch(f"{name}-{place}.jpg", split, number, split, name, box, jpeg(grey)))
        manifest, ref = writer.finish()
    return Dataset(blobs, manifest), ref


def test_ranking_a_network_that_is_stored(tmp_path: Path) -> None:
    """The kind's scores are the means over the mammograms of the split, each once, its shorter side scaled; a unit is
    counted on the mammograms where it is among the 8 most influential."""
    blobs = FolderBlobs(tmp_path / "blobs")
    stored = store_mammograms(blobs)
    context = context_of(tmp_path, blobs, stored, InfluenceSettings(scale=2))
    assert mammograms_of(context) == ["mammogram-1", "mammogram-2"]
    assert [tuple(read_mammogram(context, name, 2).shape[2:]) for name in mammograms_of(context)] == [
        (64, 72),
        (64, 87),
    ]
    kind, seen = Influence(), []
    assert kind.pieces(context) == 1
    state = kind.run_piece(context, 0, lambda done, total: seen.append((done, total)))
    tables = dict(kind.merge(context, [state], ignore_progress))
    assert seen == [(1, 2), (2, 2)]
    network, largest = context.network, []
    for name in mammograms_of(context):
        with capture(network, {"layer4": "layer4"}) as acts, torch.inference_mode():
            network(read_mammogram(context, name, 2))
        largest.append(acts["layer4"].amax((2, 3))[0])
    influence = (torch.stack(largest)[:, None] * network.fc.weight.detach()).numpy()
    rows = tables["layer4"].to_pylist()
    assert len(rows) == CLASSES * 512 and len(tables["layer3"]) == CLASSES * 256
    for label in range(CLASSES):
        mine = [row for row in rows if row["label"] == label]
        assert sum(row["count"] for row in mine) == 2 * 8
        leading = {unit for one in influence[:, label] for unit in np.argsort(-one)[:8].tolist()}
        assert {row["unit"] for row in mine if row["count"]} == leading
        for row in mine[:20]:
            assert row["score"] == pytest.approx(influence[:, label, row["unit"]].mean(), rel=1e-4, abs=1e-6)


def test_tissue_is_seen_at_the_size_that_the_network_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a scale it is that of the split's patches (here 44/16 and 80/16 of the shorter sides, two each); one that
    is set stays; mammograms too large for their patches are refused, and the scale is named."""
    blobs = FolderBlobs(tmp_path / "blobs")
    stored = store_mammograms(blobs)
    names = ["mammogram-1", "mammogram-2"]
    assert scale_of(context_of(tmp_path, blobs, stored, InfluenceSettings()), names) == round((44 + 80) / 2 / 16, 2)
    assert scale_of(context_of(tmp_path, blobs, stored, InfluenceSettings()), names[1:]) == 44 / 16
    assert scale_of(context_of(tmp_path, blobs, stored, InfluenceSettings(scale=4)), names) == 4
    monkeypatch.setattr(module, "LARGEST_SCALE", 3)
    with pytest.raises(InvalidInput, match=r"are seen at a scale of 3.88; influence takes 1 to 3: set one"):
        Influence().pieces(context_of(tmp_path, blobs, stored, InfluenceSettings()))


def test_a_data_set_without_its_mammograms_is_refused(tmp_path: Path) -> None:
    """The error names a mammogram that is not kept, and what can be done instead."""
    blobs = FolderBlobs(tmp_path / "blobs")
    stored = store_dataset(blobs, tmp_path / "ddsm", {"train": 3, "val": 4})
    with pytest.raises(InvalidInput, match=r"keeps no mammogram .*; influence is over whole mammograms.*by gradient"):
        Influence().pieces(context_of(tmp_path, blobs, stored, InfluenceSettings()))
