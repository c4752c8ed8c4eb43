"""The order of an epoch: patches, weights and changes."""

import numpy as np
import pytest
import torch

from services.training.augmentation import change, draw_changes
from services.training.epoch_order import class_weights, order_by_id, order_epoch
from services.training.schemas import RunSettings

IDS = np.arange(100, 400)
LABELS = np.concatenate([np.zeros(100), np.repeat([0, 1, 2], [210, 60, 30])]).astype(np.int64)
"""The labels of all patches. The patches of other splits come first."""
CHANGING = RunSettings(rotation=20, contrast=0.3, brightness=0.1)


@pytest.mark.parametrize("balance", ["none", "weights"])
def test_an_epoch_has_every_patch_once(balance: str) -> None:
    """The order depends on seed and epoch, and differs for others."""
    settings = RunSettings(balance=balance)
    order = order_epoch(settings, IDS, LABELS, 3)
    assert sorted(order.ids) == list(IDS)
    assert np.array_equal(order.ids, order_epoch(settings, IDS, LABELS, 3).ids)
    for other in (order_epoch(settings, IDS, LABELS, 4), order_epoch(RunSettings(seed=8), IDS, LABELS, 3)):
        assert not np.array_equal(order.ids, other.ids)


def test_weights_balance_the_classes() -> None:
    """All classes have the same total weight, and the mean weight is 1. A missing class has weight 0."""
    order = order_epoch(RunSettings(balance="weights"), IDS, LABELS, 0)
    sums = [order.weights[LABELS[order.ids] == label].sum() for label in range(3)]
    assert sums == pytest.approx([100, 100, 100])
    assert class_weights(np.array([0, 0, 0, 2])).tolist() == pytest.approx([2 / 3, 0, 2])
    assert order_epoch(RunSettings(), IDS, LABELS, 0).weights.tolist() == [1.0] * len(IDS)


def test_sampling_draws_the_classes_equally_often() -> None:
    """Over some epochs each class has a third of the patches, all from this split."""
    orders = [order_epoch(RunSettings(balance="sampling"), IDS, LABELS, epoch).ids for epoch in range(20)]
    drawn = np.concatenate(orders)
    assert set(drawn) <= set(IDS) and {len(order) for order in orders} == {len(IDS)}
    assert np.bincount(LABELS[drawn]) / len(drawn) == pytest.approx([1 / 3] * 3, abs=0.02)


def test_changes_are_reproducible_and_within_their_ranges() -> None:
    """Changes are the same for the same seed and epoch, and differ for the next epoch. They can be switched off."""
    first, again, next_ = (order_epoch(CHANGING, IDS, LABELS, epoch).changes for epoch in (0, 0, 1))
    assert first is not None and again is not None and next_ is not None
    assert np.array_equal(first, again) and not np.array_equal(first, next_)
    low, high = first.min(0), first.max(0)
    assert low == pytest.approx([-np.radians(20), 0.7, -25.5], rel=0.05)
    assert high == pytest.approx([np.radians(20), 1.3, 25.5], rel=0.05)
    assert order_epoch(RunSettings(), IDS, LABELS, 0).changes is None
    assert order_by_id(IDS).changes is None
    only_contrast = draw_changes(RunSettings(contrast=0.2), np.random.default_rng(0), 5)
    assert only_contrast is not None and not only_contrast[:, [0, 2]].any()


def test_a_quarter_turn_is_exact() -> None:
    """A rotation by 90 degrees equals numpy's: it is about the centre and loses no pixel."""
    pixels = torch.randint(0, 256, (2, 15, 15), dtype=torch.uint8)
    turned = change(pixels, torch.tensor([[np.pi / 2, 1, 0], [0, 1, 0]], dtype=torch.float32))
    expected = np.rot90(pixels[0].numpy(), 1)
    assert np.allclose(turned[0], expected, atol=0.01)
    assert torch.allclose(turned[1], pixels[1].float(), atol=0.01)


def test_a_rotated_patch_has_no_black_corners() -> None:
    """The corners are filled with the mirrored patch, so a uniform patch stays uniform."""
    even = torch.full((1, 32, 32), 180, dtype=torch.uint8)
    assert torch.allclose(change(even, torch.tensor([[0.3, 1, 0]])), even.float(), atol=0.01)


def test_contrast_is_about_the_mean_and_within_the_grey_scale() -> None:
    """Twice the contrast is twice the distance from the mean. A shift is added. All values stay within 0 to 255."""
    pixels = torch.tensor([[[90, 110], [80, 120]]], dtype=torch.uint8)
    assert change(pixels, torch.tensor([[0.0, 2.0, 0.0]])).tolist() == [[[80, 120], [60, 140]]]
    assert change(pixels, torch.tensor([[0.0, 1.0, 5.0]])).tolist() == [[[95, 115], [85, 125]]]
    assert change(pixels, torch.tensor([[0.0, 1.0, 140.0]])).tolist() == [[[230, 250], [220, 255]]]
