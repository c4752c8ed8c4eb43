"""The size of batches, and how many of them run in parallel, within a bound on memory."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from services.imaging.preprocessing import Preprocessing

MAX_AT_ONCE = 4
"""Batches that run in parallel on a CPU, at most."""
BATCH_BYTES = 192 << 20
"""Bytes of a module's input and output for one batch on a CPU. Larger networks and images get smaller batches, so that
memory stays bounded."""
GPU_BATCH = 256
"""Fewest patches of a batch on a GPU, if memory allows."""
GPU_BATCH_BYTES = 2 << 30
"""Most bytes of a module's input and output for one batch on a GPU."""


@dataclass(frozen=True)
class BatchSizing:
    """The number of patches in one forward, the same for every shard, and the number of forwards in parallel."""

    batch_size: int
    at_once: int = 1

    @classmethod
    def of(
        cls, network: nn.Module, batch_size: int, device: torch.device, preprocessing: Preprocessing
    ) -> "BatchSizing":
        """The sizing for this network on this device, and the requested batch size."""
        step_bytes = _largest_step(network, device, preprocessing)
        return cls.within(device.type, batch_size, step_bytes, torch.get_num_threads())

    @classmethod
    def within(cls, device: str, batch_size: int, step_bytes: int, threads: int) -> "BatchSizing":
        """The sizing if `step_bytes` is the largest input and output of a module for one patch.

        On a CPU a batch has the requested size, or fewer patches if BATCH_BYTES hold fewer. Up to MAX_AT_ONCE batches
        run in parallel: the number that leaves the fewest of torch's threads idle, and that needs no more memory than
        MAX_AT_ONCE batches of BATCH_BYTES. On a GPU one batch runs at a time. It has the requested size but at least
        GPU_BATCH patches, or fewer if GPU_BATCH_BYTES hold fewer.
        """
        if device != "cpu":
            return cls(max(1, min(max(batch_size, GPU_BATCH), GPU_BATCH_BYTES // step_bytes)))
        size = max(1, min(batch_size, BATCH_BYTES // step_bytes))
        most = max(1, min(MAX_AT_ONCE, threads, MAX_AT_ONCE * BATCH_BYTES // (size * step_bytes)))
        return cls(size, max(range(min(2, most), most + 1), key=lambda count: (threads // count * count, count)))


@torch.inference_mode()
def _largest_step(network: nn.Module, device: torch.device, preprocessing: Preprocessing) -> int:
    """The bytes of the input and output of a module for one patch, for the module with the most."""
    sizes = [1]

    def weigh(_module: nn.Module, inputs: Any, output: Any) -> None:
        sizes.append(sum(one.nbytes for one in (*inputs, output) if isinstance(one, Tensor)))

    handles = [module.register_forward_hook(weigh) for module in network.modules() if not any(module.children())]
    try:
        pixels = torch.zeros((1, preprocessing.size, preprocessing.size), dtype=torch.uint8, device=device)
        network(preprocessing.normalise(pixels))
    finally:
        for handle in handles:
            handle.remove()
    return max(sizes)
