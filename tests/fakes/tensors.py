"""Tensors as they lie in a store, without one."""

import torch
from safetensors.torch import save

from services.imaging.tensors import Tensors


def as_stored(tensors: dict[str, torch.Tensor], prefix: str = "") -> Tensors:
    """What a file of these tensors would give, each under its name behind a prefix."""
    content = save({f"{prefix}{name}": value for name, value in tensors.items()})
    return Tensors(lambda offset, length: content[offset : offset + length], "a file of the test")
