"""Networks that share weights, and nothing that a forward may change."""

import copy

from torch import nn


def copy_sharing_weights(network: nn.Module) -> nn.Module:
    """A network of the same weights and buffers, whose modules are its own: they take hooks of their own, and keep what
    a forward leaves in them (the attention biases that LeViT and its kin remember, say) to themselves."""
    weights = (*network.parameters(), *network.buffers())
    return copy.deepcopy(network, {id(one): one for one in weights})
