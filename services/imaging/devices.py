"""Where tensors are computed."""

import torch

from services.common.errors import InvalidInput


def choose_device(wish: str) -> torch.device:
    """`auto` takes the first CUDA device where there is one. InvalidInput for CUDA that is not there."""
    available = torch.cuda.is_available()
    if wish == "auto":
        return torch.device("cuda" if available else "cpu")
    try:
        device = torch.device(wish)
    except RuntimeError as error:
        raise InvalidInput(f"device {wish!r}; expected auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and not available:
        raise InvalidInput(f"device {wish!r} was asked for, and this machine has no CUDA device")
    return device
