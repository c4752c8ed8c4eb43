"""Decode and resize on a GPU, if the machine has one and torch is installed. The smaller image has no torch."""

import importlib.util
from pathlib import Path

from services.patch_rendering.source import DecodeTogether

NVIDIA = (Path("/dev/nvidiactl"), Path("/dev/dxg"))
"""Device files of the driver of a GPU, on Linux and in WSL."""


def decode_on_gpu(device: str, size: int) -> DecodeTogether | None:
    """Return a decoder of patches to `size` x `size` pixels on the GPU that PRIMITIVES_DEVICE names; `auto` is the
    first GPU. Return None for a CPU. InvalidInput for a GPU that does not exist."""
    if device == "cpu" or importlib.util.find_spec("torch") is None:
        return None
    if device == "auto" and not any(path.exists() for path in NVIDIA):
        return None  # without loading torch, which takes seconds
    from services.imaging.batch_decode import device_decoder
    from services.imaging.devices import choose_device

    decoder = device_decoder(size, choose_device(device))
    return decoder.as_array if decoder is not None else None
