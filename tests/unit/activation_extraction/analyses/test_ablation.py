"""Ablation, compared with a slow reference: one unit at a time in the whole network, in float64."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from services.activation_extraction.analyses.ablation import (
    Ablation,
    auc_drops,
    pooled_averages,
    without_units,
)
from services.activation_extraction.analyses.context import Context
from services.activation_extraction.analyses.patches import PiecePatches, draw_patches
from services.activation_extraction.analyses.settings import AblationSettings
from services.activation_extraction.analyses.silencing import Silencing
from services.activation_extraction.head import head_weights
from services.common.blobs import FolderBlobs
from services.common.errors import InvalidInput, NotFound
from services.imaging.architectures import build_network
from services.imaging.manifests import RANKING_SCHEMA
from tests.fakes.data import ignore_progress, store_dataset
from tests.unit.activation_extraction.analyses.networks import (
    CLASSES,
    Classified,
    LongWay,
    Pooled,
    Residual,
    UnitsLast,
    context_of,
    make,
)

SIDE = 20
SAMPLE = AblationSettings(layers=("layer4",), patches=7)
OTHER_SAMPLE = SAMPLE.model_copy(update={"seed": 8})


def full_forwards(network: nn.Module, module: str, images: Tensor, units: list[int], axis: int = 1) -> Tensor:
    """Run the whole network once per image and unit, with the unit's channel set to zero: (n, units, classes)."""
    rows = []
    for unit in units:

        def silence(_module: nn.Module, _inputs: object, output: Tensor, unit: int = unit) -> Tensor:
            output = output.clone()
            output.select(axis, unit).zero_()
            return output

        handle = network.get_submodule(module).register_forward_hook(silence)
        rows.append(torch.cat([network(image[None]) for image in images]))
        handle.remove()
    return torch.stack(rows, 1)


def drops(plain: np.ndarray, silenced: np.ndarray, labels: np.ndarray) -> dict[int, np.ndarray]:
    """The drop of scikit-learn's AUC of each class, for each unit of (n, units, classes) silenced logits."""

    def auc(logits: np.ndarray, label: int) -> float:
        return roc_auc_score(labels == label, torch.from_numpy(logits).softmax(1)[:, label])

    return {
        label: np.array([auc(plain, label) - auc(silenced[:, unit], label) for unit in range(silenced.shape[1])])
        for label in range(plain.shape[1])
    }


@pytest.mark.parametrize(
    ("kind", "module", "copy_point"),
    [
        (Pooled, "conv1", "conv1"),
        (Pooled, "conv2", "conv2"),
        (Classified, "features.0", "features.0"),
        (Classified, "features.2", "features.2"),
        (Residual, "stem", "stem"),
        (Residual, "blocks.0", "blocks.0"),
        (Residual, "blocks.0.conv1", "blocks.0"),
        (Residual, "blocks.1.conv2", "blocks.1"),
        (LongWay, "body.0", ""),
    ],
)
@torch.inference_mode()
def test_silencing_copies_equals_silencing_one_unit_at_a_time(
    kind: type[nn.Module], module: str, copy_point: str
) -> None:
    """Copies begin as deep as possible, and their output equals that of the whole network with the unit silenced, also
    if images and units do not fill the last part and group."""
    network = make(kind)
    images = torch.randn(7, 3, SIDE, SIDE).double()
    units = list(range(4))
    found = Silencing.of(network, module, units, SIDE)
    assert found.copy_point == copy_point
    expected = torch.cat([network(images)[:, None], full_forwards(network, module, images, units)], 1)
    for many in (found, Silencing(network, module, 1, copy_point, units, images=3, copies=4)):
        torch.testing.assert_close(torch.cat(list(many.parts(images))), expected, rtol=1e-10, atol=1e-12)
    assert all(not one._forward_hooks and not one._forward_pre_hooks for one in network.modules())


@torch.inference_mode()
def test_a_unit_is_a_channel_on_any_axis() -> None:
    """A transformer's unit is a channel of all tokens, including the class token. Maps may have their units on the last
    axis."""
    for network, module, axis, side in (
        (build_network("test_vit", CLASSES).eval().double(), "blocks.0", 2, 160),
        (make(UnitsLast), "mix", 3, SIDE),
    ):
        images = torch.randn(3, 3, side, side).double()
        found = torch.cat(list(Silencing.of(network, module, [1, 3, 5], side).parts(images)))
        expected = full_forwards(network, module, images, [1, 3, 5], axis)
        torch.testing.assert_close(found[:, 1:], expected, rtol=1e-9, atol=1e-12)


@given(seed=st.integers(0, 10_000), patches=st.integers(6, 40), units=st.integers(1, 9), ties=st.booleans())
@settings(max_examples=30, deadline=None)
def test_drops_equal_scikit_learns(seed: int, patches: int, units: int, ties: bool) -> None:
    """auc_drops equals the drops of scikit-learn's AUCs, also with ties."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(patches, 1 + units, CLASSES))
    if ties:
        logits = np.rint(logits)
    labels = np.concatenate([np.arange(CLASSES), rng.integers(0, CLASSES, patches - CLASSES)])
    found = auc_drops(logits[:, 0], iter(logits[:, 1:].transpose(1, 0, 2)), labels, ignore_progress)
    for label, expected in drops(logits[:, 0], logits[:, 1:], labels).items():
        np.testing.assert_allclose(found[label], expected, atol=1e-12)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_a_pooled_linear_head_needs_one_forward_a_patch(seed: int) -> None:
    """The logits minus weight times average equal the logits of the whole network without the unit."""
    network = make(Pooled, seed)
    weights = head_weights(network, "last", SIDE)
    assert weights is not None
    images = torch.randn(12, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)).double()
    labels = np.arange(12) % CLASSES
    with torch.inference_mode():
        state = pooled_averages(network, {"last": "last"}, images)
        expected = full_forwards(network, "last", images, list(range(6))).numpy()
    plain = state["logits"].numpy()
    found = np.stack(list(without_units(plain, state["last/averages"].numpy(), weights, range(6))), 1)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    for label, drop in auc_drops(plain, iter(found.transpose(1, 0, 2)), labels, ignore_progress).items():
        np.testing.assert_allclose(drop, drops(plain, expected, labels)[label], atol=1e-9)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FolderBlobs, tuple]:
    folder = tmp_path_factory.mktemp("ablation")
    blobs = FolderBlobs(folder / "blobs")
    return folder, blobs, store_dataset(blobs, folder / "ddsm", {"train": 3, "val": 12}, shard_patches=5)


def rank(context: Context) -> dict[str, list[dict]]:
    """Compute all pieces and merge them."""
    kind, seen = Ablation(), []
    states = [
        kind.run_piece(context, piece, lambda done, total: seen.append((done, total)))
        for piece in range(kind.pieces(context))
    ]
    assert all(0 < done <= total for done, total in seen) and seen[-1][0] == seen[-1][1]
    tables = dict(kind.merge(context, states, ignore_progress))
    assert all(table.schema == RANKING_SCHEMA for table in tables.values())
    return {name: table.to_pylist() for name, table in tables.items()}


def test_ranking_a_stored_network(stored: tuple) -> None:
    """For the requested units of both sorts of layers, the drops equal those of the whole network in float64."""
    units = (0, 3, 200)
    context = context_of(*stored, AblationSettings(units=units))
    tables, network, data = rank(context), context.network.double(), stored[2][0]
    patches = [pair for shard in data.shards("val") for pair in data.stream(shard)]
    pixels = torch.stack(
        [torch.from_numpy(context.checkpoint.preprocessing.pixels(image, "x").copy()) for _, image in patches]
    )
    images = context.checkpoint.preprocessing.normalise(pixels).double()
    labels = data.labels[[patch_id for patch_id, _ in patches]]
    with torch.inference_mode():
        plain = network(images).numpy()
        for name, rows in tables.items():
            silenced = full_forwards(network, name, images, list(units)).numpy()
            expected = drops(plain, silenced, labels)
            assert len(rows) == CLASSES * len(units)
            for row in rows:
                assert row["score"] == pytest.approx(expected[row["label"]][units.index(row["unit"])], abs=1e-9)
                assert row["count"] is None
            for label in range(CLASSES):
                mine = [row for row in rows if row["label"] == label]
                assert [row["rank"] for row in mine] == [1, 2, 3]
                assert mine == sorted(mine, key=lambda row: (-row["score"], row["unit"]))


def test_a_sample_of_patches_does_not_depend_on_the_shards(stored: tuple, tmp_path: Path) -> None:
    """A seed draws the same seven patches from one shard as from three, and the pieces contain each of them once."""
    blobs = FolderBlobs(tmp_path / "blobs")
    uncut = store_dataset(blobs, tmp_path / "ddsm", {"train": 3, "val": 12})
    drawn = []
    for source, options in ((stored, SAMPLE), ((tmp_path, blobs, uncut), SAMPLE), (stored, OTHER_SAMPLE)):
        context = context_of(*source, options)
        drawn.append(draw_patches(context).tolist())
        preprocessing = context.checkpoint.preprocessing
        pieces = [PiecePatches(context, number) for number in range(Ablation().pieces(context))]
        read = [batch.ids for piece in pieces for batch in piece.batches(preprocessing, 2)]
        assert torch.cat(read).tolist() == drawn[-1] and sum(map(len, pieces)) == 7
    assert drawn[0] == drawn[1] != drawn[2]


def test_requests_that_cannot_be_ablated_are_refused(stored: tuple) -> None:
    """pieces raises an error for a missing layer or unit, and for patches of only one class."""
    with pytest.raises(InvalidInput, match="layer layer3 has no unit 256; it has units 0 to 255"):
        Ablation().pieces(context_of(*stored, AblationSettings(units=(1, 256))))
    with pytest.raises(NotFound, match="no layer 'layer9'"):
        Ablation().pieces(context_of(*stored, AblationSettings(layers=("layer9",))))
    with pytest.raises(InvalidInput, match="all patches have class"):
        Ablation().pieces(context_of(*stored, AblationSettings(patches=1)))
