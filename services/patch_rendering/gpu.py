"""Decoding and resizing on a GPU, where the machine has one and torch is installed: the smaller image has none."""

import importlib.util
from pathlib import Path

from services.patch_rendering.source import DecodeTogether

NVIDIA = (Path("/dev/nvidiactl"), Path("/dev/dxg"))
"""What the driver shows where there is a GPU, on Linux and within Windows."""


def decode_on_gpu(device: str, size: int) -> DecodeTogether | None:
    """What decodes patches to `size` x `size` on the GPU that PRIMITIVES_DEVICE names, or on the first there is; None
    where that is a CPU. InvalidInput for a GPU that is not there."""
    if device == "cpu" or importlib.util.find_spec("torch") is None:
        return None
    if device == "auto" and not any(path.exists() for path in NVIDIA):
        return None  # not even asked torch, which takes seconds to load
    from services.imaging.batch_decode import device_decoder
    from services.imaging.devices import choose_device

    decoder = device_decoder(size, choose_device(device))
    return decoder.as_array if decoder is not None else None
