"""What the outputs of a network mean, and the head of networks with one output for two classes."""

from typing import Any, Literal

import torch
from torch import Tensor

from services.common.errors import InvalidInput

Outputs = Literal["softmax", "sigmoid"]
"""softmax: one of the classes is true. sigmoid: each class is true or not, independently of the others."""


def probabilities(logits: Tensor, outputs: Outputs) -> Tensor:
    """The (n, classes) probabilities of (n, classes) logits."""
    return logits.sigmoid() if outputs == "sigmoid" else logits.softmax(1)


def with_two_outputs(weights: dict[str, Tensor], head: str) -> dict[str, Tensor]:
    """The weights of a network with one sigmoid output for the second of two classes, as one with two outputs: the
    first is always 0, so that softmax gives the same probability. InvalidInput if the head has no single output."""
    weight, bias = weights.get(f"{head}.weight"), weights.get(f"{head}.bias")
    if weight is None or len(weight) != 1:
        found = "no such weight" if weight is None else f"{len(weight)} outputs"
        raise InvalidInput(f"the last layer {head} has {found}; expected one output")
    changed: dict[str, Any] = {f"{head}.weight": torch.cat([torch.zeros_like(weight), weight])}
    if bias is not None:
        changed[f"{head}.bias"] = torch.cat([torch.zeros_like(bias), bias])
    return weights | changed
