"""The processes that train a run together, and what they have to agree on. Alone, a process agrees with itself."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from timm.layers.norm_act import convert_sync_batchnorm
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from services.common.errors import InvalidInput
from services.training.metrics import Meter

T = TypeVar("T")


@dataclass(frozen=True)
class Team:
    """This process's place among those that train a run. What it says of all of them, all have to call together."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process reports, saves and is the one that is told to stop."""
        return self.rank == 0

    def share(self, first: int, last: int) -> slice:
        """This process's places of a batch that has those from `first` to before `last`."""
        count = last - first
        return slice(first + count * self.rank // self.size, first + count * (self.rank + 1) // self.size)

    def agree(self, decide: Callable[[], bool]) -> bool:
        """What the leader decides."""
        if self.size == 1:
            return decide()
        told = torch.tensor([self.leads and decide()])
        distributed.broadcast(told, 0)
        return bool(told)

    def tell(self, compute: Callable[[], T]) -> T:
        """What the leader computes, to all."""
        if self.size == 1:
            return compute()
        told = [compute() if self.leads else None]
        distributed.broadcast_object_list(told)
        return cast(T, told[0])

    def total(self, value: Tensor) -> float:
        """The sum of a number over all processes."""
        if self.size > 1:
            distributed.all_reduce(value)
        return value.item()

    def collect(self, meter: Meter) -> None:
        """Hand over to the leader what the others have gathered."""
        if self.size == 1:
            return
        gathered: list[dict[str, Tensor]] | None = [{} for _ in range(self.size)] if self.leads else None
        distributed.gather_object(meter.state_dict(), gathered)
        meter.load_state_dict({})
        for state in gathered or ():
            meter.merge(state)

    def share_buffers(self, network: nn.Module) -> None:
        """Give all processes the leader's buffers: the statistics of batch norm, where each has kept its own."""
        if self.size > 1:
            for buffer in network.buffers():
                distributed.broadcast(buffer, 0)


def together(network: nn.Module, team: Team, device: torch.device) -> nn.Module:
    """The network as it is forwarded in training: with several processes its gradients are averaged over them, and on
    CUDA batch norm computes over the patches of all of them. Its parameters and their names are the network's own."""
    if team.size == 1:
        return network
    return DistributedDataParallel(network, device_ids=[device] if device.type == "cuda" else None)


def synchronise_norms(network: nn.Module, team: Team, device: torch.device) -> nn.Module:
    """Let batch norm compute over the patches of all processes. Torch can do so on CUDA only; on the CPU each process
    computes over its own, which is good for tests and networks without batch norm. timm's way also knows norms that
    activate, which torch's would lose."""
    if team.size == 1 or device.type != "cuda":
        return network
    synchronised: nn.Module = convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    return synchronised


def own_rank() -> int:
    """This process's place among all that torchrun has started on all machines."""
    return int(os.environ["RANK"])


def own_device(device: torch.device) -> torch.device:
    """The device that this process computes on: of several GPUs each process of a machine has one."""
    if device.type != "cuda":
        return device
    local, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if local >= count:
        raise InvalidInput(f"process {local + 1} of this machine has no GPU to itself; it has {count}")
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


@contextmanager
def join_team() -> Iterator[Team]:
    """Meet the other processes that torchrun has started."""
    distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Team(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
