"""Reading layers."""

import pytest
import torch
from torch import nn

from services.common.errors import InvalidInput
from services.imaging.capture import capture


def test_a_layer_is_read_before_what_follows_works_in_place() -> None:
    """A ReLU in place after a convolution does not change what was captured; every hook is gone afterwards."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True))
    images = torch.randn(2, 3, 8, 8)
    with capture(network, {"conv": "0"}) as acts, torch.inference_mode():
        network(images)
        assert torch.equal(acts["conv"], network[0](images))
    assert acts["conv"].min() < 0
    assert not network[0]._forward_hooks


def test_hooks_are_gone_after_a_failure() -> None:
    """An exception in the block removes the hooks too."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3))
    with pytest.raises(ZeroDivisionError), capture(network, {"conv": "0"}):
        _ = 1 / 0
    assert not network[0]._forward_hooks


@pytest.mark.parametrize(("tokens", "height", "width", "first"), [(9, 3, 3, 0), (10, 3, 3, 1), (12, 12, 1, 0)])
def test_tokens_become_a_map(tokens: int, height: int, width: int, first: int) -> None:
    """B x T x C of a transformer is C units over a square map, row by row, without a class token; else over T x 1."""
    network = nn.Sequential(nn.Linear(5, 7))
    with capture(network, {"tokens": "0"}) as acts:
        out = network(torch.randn(2, tokens, 5))
    assert acts["tokens"].shape == (2, 7, height, width)
    assert torch.equal(acts["tokens"][1, 3].flatten(), out[1, first:, 3])


def test_a_layer_without_a_map_is_refused() -> None:
    """A flat output raises InvalidInput that names layer and shape."""
    network = nn.Sequential(nn.Linear(5, 7))
    with capture(network, {"fc": "0"}), pytest.raises(InvalidInput, match=r"layer fc outputs \[2, 7\]"):
        network(torch.randn(2, 5))
