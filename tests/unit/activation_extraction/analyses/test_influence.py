"""Influence over full mammograms, and the fully convolutional form that it needs."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from services.activation_extraction.analyses import influence as module
from services.activation_extraction.analyses.fully_convolutional import make_fully_convolutional
from services.activation_extraction.analyses.influence import (
    Influence,
    choose_scale,
    influences,
    read_mammogram,
    split_mammograms,
)
from services.activation_extraction.analyses.settings import InfluenceSettings
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
from tests.unit.activation_extraction.analyses.networks import CLASSES, Classified, Pooled, Residual, context_of, make

SIDE = 20
SHAPES = [(60, 44), (80, 90), (44, 60)]
"""Height and width of the mammograms in pixels."""


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
    """The averaged logits equal the network's logits on an image of its own size, and a larger image has logits at more
    positions. A network without such a form is refused, with advice on how to rank its units."""
    network = build_network(architecture, CLASSES, semantics=semantics).eval()
    if trunk is None:
        with pytest.raises(InvalidInput, match=r"cannot be made fully convolutional.*rank its units by gradient"):
            make_fully_convolutional(network, size)
        return
    convolutional = make_fully_convolutional(network, size)
    assert convolutional.trunk == trunk
    images = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        logits = convolutional.logits(images)
        torch.testing.assert_close(logits.mean((2, 3)), network(images), rtol=1e-3, atol=1e-4)
        assert convolutional.logits(torch.randn(1, 3, size, 2 * size)).shape[3] > logits.shape[3]
    assert not any(one._forward_hooks for one in network.modules())


def test_the_papers_resnet_becomes_fully_convolutional() -> None:
    """The logits of torchvision 0.1.9's ResNet are the mean over 7x7 of the 8x8 positions at 227 pixels."""
    network = build_network("resnet18", CLASSES, semantics="torchvision-0.1.9").eval()
    image = torch.randn(1, 3, 227, 227)
    convolutional = make_fully_convolutional(network, 227)
    with torch.inference_mode():
        logits = convolutional.logits(image)
        assert logits.shape == (1, CLASSES, 8, 8)
        torch.testing.assert_close(logits[:, :, :7, :7].mean((2, 3)), network(image), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", [Classified, Residual])
def test_a_position_covers_a_window_of_the_networks_own_input(kind: type[nn.Module]) -> None:
    """The logits at a position equal the head's output for the window of maps at that position."""
    network = make(kind)
    convolutional = make_fully_convolutional(network, SIDE)
    image = torch.randn(1, 3, SIDE + 8, SIDE + 6).double()
    with torch.inference_mode():
        logits = convolutional.logits(image)
        trunk = network.get_submodule(convolutional.trunk)
        maps = trunk(image) if kind is Classified else network.blocks(network.stem(image))
        side = maps.shape[2] - logits.shape[2] + 1
        expected = torch.stack([
            torch.stack([
                convolutional.head(maps[:, :, row : row + side, column : column + side]).flatten()
                for column in range(logits.shape[3])
            ])
            for row in range(logits.shape[2])
        ])  # fmt: skip
    torch.testing.assert_close(logits[0].permute(1, 2, 0), expected)


def test_influence_is_the_largest_activation_times_the_weight() -> None:
    """That holds over a whole image, for the layer that the pooled linear head reads. For another layer, influence is
    the derivative of the class's largest logit with respect to a factor on the unit."""
    network = make(Pooled)
    weights = torch.from_numpy(head_weights(network, "last", SIDE))
    convolutional = make_fully_convolutional(network, SIDE)
    image = torch.randn(1, 3, 4 * SIDE, 5 * SIDE).double()
    found = influences(convolutional, {"last": "last", "conv2": "conv2"}, {"conv2": 1}, {"last": weights}, image)
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
                peaks.append(convolutional.logits(image)[0].amax((1, 2)))
            handle.remove()
        torch.testing.assert_close(found["conv2"][:, unit], (peaks[0] - peaks[1]) / 2e-6, rtol=1e-4, atol=1e-8)


def test_recomputing_activations_changes_no_influence() -> None:
    """The influences equal those of a network that keeps all activations: for layers inside a block, a block, and a
    group of blocks."""
    network = build_network("resnet18", CLASSES).eval()
    layers = {module: module for module in ("bn1", "layer1", "layer2.0.conv1", "layer3.1", "layer4")}
    image = torch.randn(1, 3, 96, 128)
    found = influences(make_fully_convolutional(network, 64), layers, dict.fromkeys(layers, 1), {}, image)
    acts: dict[str, torch.Tensor] = {}

    def record(name: str, _module: nn.Module, _inputs: object, maps: torch.Tensor) -> torch.Tensor:
        acts[name] = maps
        return maps.clone()

    handles = [
        network.get_submodule(module).register_forward_hook(partial(record, name)) for name, module in layers.items()
    ]
    network.avgpool, network.fc, head = nn.Identity(), nn.Identity(), network.fc
    network.requires_grad_(True)
    maps = network(image).unflatten(1, (512, 3, 4))
    logits = torch.nn.functional.conv2d(maps, head.weight[:, :, None, None], head.bias)[0].flatten(1)
    for label in range(CLASSES):
        gradients = torch.autograd.grad(logits[label].max(), list(acts.values()), retain_graph=True)
        for (name, maps), gradient in zip(acts.items(), gradients, strict=True):
            torch.testing.assert_close(
                found[name][label], (maps * gradient).sum((0, 2, 3)).detach().double(), rtol=1e-3, atol=1e-5
            )
    for handle in handles:
        handle.remove()
    assert all("forward" not in vars(module) for module in network.modules())


def store_mammograms(blobs: Blobs) -> tuple[Dataset, ObjectRef]:
    """Store a data set of three mammograms with two patches each. One mammogram belongs to another split."""
    rng = np.random.default_rng(2)
    with DatasetWriter(blobs, "training", "mammograms", ("normal", "benign", "cancer")) as writer:
        for split in ("train", "val"):
            for number, (height, width) in enumerate(SHAPES):
                if (split == "train") != (number == 0):
                    continue
                image = jpeg(rng.integers(0, 256, (height, width)).astype(np.uint8))
                name = f"mammogram-{number}"
                writer.add_mammogram(Mammogram(name, split, "LEFT", "CC", height, width, image))
                for row in range(2):
                    box, grey = Box(row, 0, 16, 16), np.full((16, 16), 90 * row, np.uint8)
                    writer.add_patch(Patch(f"{name}-{row}.jpg", split, number, split, name, box, jpeg(grey)))
        manifest, ref = writer.finish()
    return Dataset(blobs, manifest), ref


def test_ranking_a_stored_network(tmp_path: Path) -> None:
    """The scores are means over the mammograms of the split, scaled by their shorter sides. The count of a unit is the
    number of mammograms on which it is among the 8 most influential."""
    blobs = FolderBlobs(tmp_path / "blobs")
    stored = store_mammograms(blobs)
    context = context_of(tmp_path, blobs, stored, InfluenceSettings(scale=2))
    assert split_mammograms(context) == ["mammogram-1", "mammogram-2"]
    assert [tuple(read_mammogram(context, name, 2).shape[2:]) for name in split_mammograms(context)] == [
        (64, 72),
        (64, 87),
    ]
    kind, seen = Influence(), []
    assert kind.pieces(context) == 1
    state = kind.run_piece(context, 0, lambda done, total: seen.append((done, total)))
    tables = dict(kind.merge(context, [state], ignore_progress))
    assert seen == [(1, 2), (2, 2)]
    network, largest = context.network, []
    for name in split_mammograms(context):
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


def test_the_scale_is_that_of_the_patches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default the scale is the median over the split's patches (here two of 44/16 and two of 80/16). A scale in the
    settings is used as it is. InvalidInput names a scale that is out of bounds."""
    blobs = FolderBlobs(tmp_path / "blobs")
    stored = store_mammograms(blobs)
    names = ["mammogram-1", "mammogram-2"]
    assert choose_scale(context_of(tmp_path, blobs, stored, InfluenceSettings()), names) == round((44 + 80) / 2 / 16, 2)
    assert choose_scale(context_of(tmp_path, blobs, stored, InfluenceSettings()), names[1:]) == 44 / 16
    assert choose_scale(context_of(tmp_path, blobs, stored, InfluenceSettings(scale=4)), names) == 4
    monkeypatch.setattr(module, "LARGEST_SCALE", 3)
    with pytest.raises(InvalidInput, match=r"are read at a scale of 3.88; influence accepts 1 to 3: set a scale"):
        Influence().pieces(context_of(tmp_path, blobs, stored, InfluenceSettings()))


def test_a_data_set_without_its_mammograms_is_refused(tmp_path: Path) -> None:
    """InvalidInput names a missing mammogram, and another way to rank units."""
    blobs = FolderBlobs(tmp_path / "blobs")
    stored = store_dataset(blobs, tmp_path / "ddsm", {"train": 3, "val": 4})
    with pytest.raises(InvalidInput, match=r"has no mammogram .*; influence needs full mammograms.*by gradient"):
        Influence().pieces(context_of(tmp_path, blobs, stored, InfluenceSettings()))
