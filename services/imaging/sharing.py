"""Networks that share weights, but no state that a forward changes."""

import copy

from torch import nn


def copy_sharing_weights(network: nn.Module) -> nn.Module:
    """Copy a network's modules but not its weights and buffers. The copy has its own hooks, and its own state that a
    forward leaves in modules, such as the attention biases that LeViT and similar networks cache."""
    weights = (*network.parameters(), *network.buffers())
    return copy.deepcopy(network, {id(one): one for one in weights})
