"""Where tensors are computed."""

import torch

from services.common.errors import InvalidInput


def choose_device(choice: str) -> torch.device:
    """`auto` takes the first CUDA device where there is one. InvalidInput for CUDA that is not there."""
    available = torch.cuda.is_available()
    if choice == "auto":
        return torch.device("cuda" if available else "cpu")
    try:
        device = torch.device(choice)
    except RuntimeError as error:
        raise InvalidInput(f"device {choice!r}; expected auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and not available:
        raise InvalidInput(f"device {choice!r} was asked for, and this machine has no CUDA device")
    return device
