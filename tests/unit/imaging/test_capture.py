"""Reading the outputs of layers."""

import pytest
import torch
from torch import nn

from services.common.errors import InvalidInput
from services.imaging.capture import capture


def test_an_in_place_operation_does_not_change_a_captured_layer() -> None:
    """An in-place ReLU after a convolution does not change the captured output; all hooks are removed afterwards."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True))
    images = torch.randn(2, 3, 8, 8)
    with capture(network, {"conv": "0"}) as acts, torch.inference_mode():
        network(images)
        assert torch.equal(acts["conv"], network[0](images))
    assert acts["conv"].min() < 0
    assert not network[0]._forward_hooks


def test_hooks_are_removed_after_a_failure() -> None:
    """The hooks are also removed when the block raises."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3))
    with pytest.raises(ZeroDivisionError), capture(network, {"conv": "0"}):
        _ = 1 / 0
    assert not network[0]._forward_hooks


@pytest.mark.parametrize(("tokens", "height", "width", "first"), [(9, 3, 3, 0), (10, 3, 3, 1), (12, 12, 1, 0)])
def test_tokens_become_a_map(tokens: int, height: int, width: int, first: int) -> None:
    """A transformer's B x T x C output becomes C units over a square map, without a class token, or else over T x 1."""
    network = nn.Sequential(nn.Linear(5, 7))
    with capture(network, {"tokens": "0"}) as acts:
        out = network(torch.randn(2, tokens, 5))
    assert acts["tokens"].shape == (2, 7, height, width)
    assert torch.equal(acts["tokens"][1, 3].flatten(), out[1, first:, 3])


def test_a_layer_without_a_map_is_refused() -> None:
    """A flat output raises InvalidInput with the layer and the shape."""
    network = nn.Sequential(nn.Linear(5, 7))
    with capture(network, {"fc": "0"}), pytest.raises(InvalidInput, match=r"layer fc outputs \[2, 7\]"):
        network(torch.randn(2, 5))
