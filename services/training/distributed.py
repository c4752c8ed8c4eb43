"""The processes that train a run together, and what they must agree on. A single process agrees with itself."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from services.common.errors import InvalidInput
from services.training.metrics import Meter

T = TypeVar("T")


@dataclass(frozen=True)
class Team:
    """The processes that train a run, as one of them sees them. All processes must call the methods that communicate
    (`agree`, `broadcast`, `total`, `collect`, `share_buffers`) in the same order."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process is the leader, which reports, saves, and receives orders to stop."""
        return self.rank == 0

    def share(self, first: int, last: int) -> slice:
        """Return this process's part of the batch from `first` to before `last`."""
        count = last - first
        return slice(first + count * self.rank // self.size, first + count * (self.rank + 1) // self.size)

    def agree(self, decide: Callable[[], bool]) -> bool:
        """Return the leader's decision in all processes."""
        if self.size == 1:
            return decide()
        decision = torch.tensor([self.leads and decide()])
        distributed.broadcast(decision, 0)
        return bool(decision)

    def broadcast(self, compute: Callable[[], T]) -> T:
        """Compute a value in the leader and return it in all processes."""
        if self.size == 1:
            return compute()
        values = [compute() if self.leads else None]
        distributed.broadcast_object_list(values)
        return cast(T, values[0])

    def total(self, value: Tensor) -> float:
        """Add up a number over all processes."""
        if self.size > 1:
            distributed.all_reduce(value)
        return value.item()

    def collect(self, meter: Meter) -> None:
        """Move the content of all meters into the leader's meter."""
        if self.size == 1:
            return
        gathered: list[dict[str, Tensor]] | None = [{} for _ in range(self.size)] if self.leads else None
        distributed.gather_object(meter.state_dict(), gathered)
        meter.load_state_dict({})
        for state in gathered or ():
            meter.merge(state)

    def share_buffers(self, network: nn.Module) -> None:
        """Copy the leader's buffers to all processes: the statistics of batch norm, which each process has computed for
        itself."""
        if self.size > 1:
            for buffer in network.buffers():
                distributed.broadcast(buffer, 0)


def average_gradients(network: nn.Module, team: Team, device: torch.device) -> nn.Module:
    """Wrap a network so that its gradients are averaged over all processes. The wrapper shares the network's
    parameters, which keep their names in the network. A single process needs no wrapper."""
    if team.size == 1:
        return network
    return DistributedDataParallel(network, device_ids=[device] if device.type == "cuda" else None)


def synchronise_norms(network: nn.Module, team: Team, device: torch.device) -> nn.Module:
    """Make batch norm compute over the patches of all processes. Torch supports this on CUDA only: on a CPU each
    process computes over its own patches, which suits tests and networks without batch norm.

    timm's conversion also handles norms with an activation in them, which torch's would lose.
    """
    if team.size == 1 or device.type != "cuda":
        return network
    from timm.layers.norm_act import convert_sync_batchnorm  # its import takes seconds

    synchronised: nn.Module = convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    return synchronised


def own_rank() -> int:
    """Return this process's number among all processes that torchrun has started, on all machines."""
    return int(os.environ["RANK"])


def own_device(device: torch.device) -> torch.device:
    """Return the device of this process: each process of a machine has a GPU of its own. InvalidInput if the machine
    has too few."""
    if device.type != "cuda":
        return device
    local, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if local >= count:
        raise InvalidInput(f"process {local + 1} of this machine has no GPU to itself; the machine has {count}")
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


@contextmanager
def join_team() -> Iterator[Team]:
    """Connect with the other processes that torchrun has started."""
    distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Team(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
