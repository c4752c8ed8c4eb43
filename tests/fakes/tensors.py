"""Stored tensors without a store."""

import torch
from safetensors.torch import save

from services.imaging.tensors import Tensors


def as_stored(tensors: dict[str, torch.Tensor], prefix: str = "") -> Tensors:
    """Return tensors as if read from a file, with a prefix before each name."""
    content = save({f"{prefix}{name}": value for name, value in tensors.items()})
    return Tensors(lambda offset, length: content[offset : offset + length], "a file of the test")
