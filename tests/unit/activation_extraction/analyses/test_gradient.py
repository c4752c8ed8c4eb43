"""Gradient x activation, compared with finite differences of the whole network in float64."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from services.activation_extraction.analyses.axes import unit_axes
from services.activation_extraction.analyses.gradient import Gradient, attribute
from services.activation_extraction.analyses.influence_tally import InfluenceTally, ranking_tables
from services.activation_extraction.analyses.settings import GradientSettings
from services.common.blobs import FolderBlobs
from services.common.errors import InvalidInput
from services.imaging.architectures import build_network
from tests.fakes.data import ignore_progress, store_dataset
from tests.unit.activation_extraction.analyses.networks import (
    CLASSES,
    Classified,
    Pooled,
    Residual,
    UnitsLast,
    context_of,
    make,
)

SIDE = 20
STEP = 1e-6


def by_difference(network: nn.Module, module: str, image: Tensor, unit: int, axis: int = 1) -> Tensor:
    """The (classes,) derivatives of the logits of one image with respect to a factor on a unit's channel, at factor
    1."""
    scaled = []
    for scale in (1 + STEP, 1 - STEP):

        def stretch(_module: nn.Module, _inputs: object, output: Tensor, scale: float = scale) -> Tensor:
            output = output.clone()
            output.select(axis, unit).mul_(scale)
            return output

        handle = network.get_submodule(module).register_forward_hook(stretch)
        with torch.inference_mode():
            scaled.append(network(image[None])[0])
        handle.remove()
    return (scaled[0] - scaled[1]) / (2 * STEP)


@pytest.mark.parametrize(
    ("kind", "modules"),
    [
        (Pooled, ["conv1", "conv2", "last"]),
        (Classified, ["features.0", "features.2"]),
        (Residual, ["stem", "blocks.0.conv1", "blocks.0", "blocks.1"]),
    ],
)
def test_influence_is_the_slope_along_the_units_scale(kind: type[nn.Module], modules: list[str]) -> None:
    """attribute returns the derivative for every unit of every layer, also for a layer within another and before a ReLU
    that works in place. Afterwards the network computes the same as before, and no hook is left."""
    network = make(kind)
    images = torch.randn(3, 3, SIDE, SIDE).double()
    before = network(images)
    layers = {module: module for module in modules}
    found = attribute(network, layers, unit_axes(network, layers, images), images)
    for module in modules:
        assert found[module].shape[:2] == (3, CLASSES)
        for unit in range(found[module].shape[2]):
            expected = torch.stack([by_difference(network, module, image, unit) for image in images])
            torch.testing.assert_close(found[module][:, :, unit], expected, rtol=1e-5, atol=1e-8)
    assert torch.equal(network(images), before)
    assert not any(one._forward_hooks for one in network.modules())


def test_units_along_the_last_axis_are_found() -> None:
    """unit_axes returns the last axis for a layer with a B x H x W x C output."""
    network = make(UnitsLast)
    images = torch.randn(2, 3, SIDE, SIDE).double()
    layers = {"stem": "stem", "mix": "mix"}
    axes = unit_axes(network, layers, images)
    assert axes == {"stem": 1, "mix": 3}
    found = attribute(network, layers, axes, images)["mix"]
    for unit in range(6):
        expected = torch.stack([by_difference(network, "mix", image, unit, axis=3) for image in images])
        torch.testing.assert_close(found[:, :, unit], expected, rtol=1e-5, atol=1e-8)


def test_a_class_token_counts_with_its_unit() -> None:
    """The units of a transformer's last block have influence, although only its class token affects the logits."""
    network = build_network("test_vit", CLASSES).eval().double()
    images = torch.randn(2, 3, 160, 160).double()
    layers = {"blocks.0": "blocks.0"}
    found = attribute(network, layers, unit_axes(network, layers, images), images)["blocks.0"]
    for unit in (0, 7, 63):
        expected = torch.stack([by_difference(network, "blocks.0", image, unit, axis=2) for image in images])
        torch.testing.assert_close(found[:, :, unit], expected, rtol=1e-5, atol=1e-8)
    assert (found.abs().amax((0, 1)) > 0).all()


def test_states_add_up_to_means_and_counts() -> None:
    """ranking_tables returns the mean influence, and the number of images on which a unit is among the 8 most
    influential, with ties to the lower unit. Units are ordered by this number. An empty state changes nothing."""
    rng = np.random.default_rng(5)
    influence = np.rint(rng.normal(size=(11, 2, 12)) * 2)
    states = [InfluenceTally().state_dict()]
    for first, last in ((0, 4), (4, 5), (5, 11)):
        tally = InfluenceTally()
        part = torch.from_numpy(influence[first:last])
        tally.add({"layer": part}, ["image"] * len(part))
        states.append(tally.state_dict())
    rows = dict(ranking_tables(["layer"], states, ignore_progress))["layer"].to_pylist()
    assert len(rows) == 2 * 12
    for label in range(2):
        leading = [sorted(range(12), key=lambda u: (-one[label, u], u))[:8] for one in influence]
        counts = [sum(unit in eight for eight in leading) for unit in range(12)]
        means = influence[:, label].mean(0)
        expected = sorted(range(12), key=lambda u: (-counts[u], -means[u], u))
        found = [row for row in rows if row["label"] == label]
        assert [row["unit"] for row in found] == expected
        assert [row["count"] for row in found] == [counts[unit] for unit in expected]
        np.testing.assert_allclose([row["score"] for row in found], means[expected])


def test_an_influence_that_is_not_finite_is_refused() -> None:
    """add raises InvalidInput that names the image and the layer of a NaN."""
    influence = torch.zeros(2, 3, 4)
    influence[1, 2, 3] = float("nan")
    with pytest.raises(InvalidInput, match="layer conv5: the influence of its units on patch 8 is not a number"):
        InfluenceTally().add({"conv5": influence}, ["patch 7", "patch 8"])


def test_ranking_a_stored_network(tmp_path: Path) -> None:
    """The scores are the mean influences over the split's patches, for pieces of any size."""
    blobs = FolderBlobs(tmp_path / "blobs")
    data, ref = store_dataset(blobs, tmp_path / "ddsm", {"train": 3, "val": 12}, shard_patches=5)
    context = context_of(tmp_path, blobs, (data, ref), GradientSettings(batch_size=2))
    kind, seen = Gradient(), []
    states = [
        kind.run_piece(context, piece, lambda done, total: seen.append((done, total)))
        for piece in range(kind.pieces(context))
    ]
    assert seen == [(2, 5), (4, 5), (5, 5), (2, 5), (4, 5), (5, 5), (2, 2)]
    tables = dict(kind.merge(context, states, ignore_progress))
    images = context.checkpoint.preprocessing.normalise(
        torch.stack(
            [
                torch.from_numpy(context.checkpoint.preprocessing.pixels(image, "x").copy())
                for shard in data.shards("val")
                for _, image in data.stream(shard)
            ]
        )
    )
    expected = attribute(context.network.double(), context.layers, {"layer3": 1, "layer4": 1}, images.double())
    for name, influence in expected.items():
        rows = tables[name].to_pylist()
        assert len(rows) == influence[0].numel()
        for row in rows[::17]:
            mean = float(influence[:, row["label"], row["unit"]].mean())
            assert row["score"] == pytest.approx(mean, rel=1e-3, abs=1e-5)
