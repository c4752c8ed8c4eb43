"""Choose the device that computes."""

import torch

from services.common.errors import InvalidInput
from services.common.redaction import quoted


def choose_device(choice: str) -> torch.device:
    """Return the device for a setting. `auto` is the first CUDA device, or the CPU if there is none. InvalidInput for
    an unknown setting, and for CUDA on a machine without it."""
    available = torch.cuda.is_available()
    if choice == "auto":
        return torch.device("cuda" if available else "cpu")
    try:
        device = torch.device(choice)
    except RuntimeError as error:
        raise InvalidInput(f"device {quoted(choice)}; expected auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and not available:
        raise InvalidInput(f"device {quoted(choice)} was requested, but this machine has no CUDA device")
    return device
