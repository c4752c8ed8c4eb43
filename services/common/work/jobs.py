"""Jobs: functions that run in a child process. This is what both sides of the process see of them."""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from multiprocessing.connection import Connection
from typing import Any, Generic

from typing_extensions import TypeVar

from services.common.errors import JobStopped
from services.common.progress import Progress

GPU_INTERVAL_S = 2.0
"""Seconds between two reports of a GPU's memory."""

S = TypeVar("S")
"""The spec: a frozen model that the job receives."""
T = TypeVar("T")
"""The result."""
M = TypeVar("M", default=None)
"""A milestone: what the job hands over before it is done."""

GpuMemory = dict[str, dict[str, int]]
"""Bytes of GPU memory by device and kind: reserved by the process, used by all, total."""


class Order(Enum):
    """What a job must do now, according to the record of its task."""

    WORK = "work"
    PAUSE = "pause"
    """Save what can be saved, and return."""
    CANCEL = "cancel"
    """Return: the result is not needed any more."""


class JobReport(Progress):
    """What a job reports of itself. The metrics count `counted`, or `done` where it is None."""

    counted: float | None = None

    def progress(self, before: float = 0) -> Progress:
        """The progress of the task, of which `before` was done when this job began."""
        return Progress(phase=self.phase, done=before + self.done, total=self.total, unit=self.unit)


class Job(Generic[M]):
    """The job's side of the connection to the service: it reports progress, and learns when to stop."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._order = Order.WORK
        self._gpu_reported = -math.inf

    def report(
        self, done: float, total: float = 0, phase: str = "", unit: str = "", counted: float | None = None
    ) -> None:
        """Report how far the job is, e.g. `report(32, 600, unit="patches")`. Only the newest report matters."""
        self.forward(JobReport(phase=phase, done=done, total=total, unit=unit, counted=counted))
        if time.monotonic() - self._gpu_reported >= GPU_INTERVAL_S:
            self._gpu_reported = time.monotonic()
            if memory := gpu_memory():
                self.report_gpu_memory(memory)

    def forward(self, report: JobReport) -> None:
        """Send a report that another process of the job has made."""
        self._connection.send(("report", report))

    def report_gpu_memory(self, memory: GpuMemory) -> None:
        """Report how full the memory of the GPUs is. `report` calls this from time to time."""
        self._connection.send(("gpu", memory))

    def milestone(self, content: M) -> None:
        """Hand over something that is finished before the job is, such as a checkpoint. Milestones are never lost."""
        self._connection.send(("milestone", content))

    def stop_if_requested(self) -> None:
        """Raise JobStopped if the job must stop. For jobs that save nothing unfinished; call it between batches."""
        if self._newest_order() is not Order.WORK:
            raise JobStopped("the job stopped on request")

    def paused(self) -> bool:
        """Return whether the job must save its state and return, because its task was paused. Raise JobStopped if the
        task was cancelled: then nothing is saved."""
        order = self._newest_order()
        if order is Order.CANCEL:
            raise JobStopped("the job stopped on request")
        return order is Order.PAUSE

    def _newest_order(self) -> Order:
        while self._connection.poll():
            self._order = self._connection.recv()
        return self._order


@dataclass(frozen=True)
class JobFunction(Generic[S, T, M]):
    """The declaration of a job: the function `module:name`, its spec, its result and its milestones.

    Services import the declaration and never the module, which may load torch. The module decorates the function with
    `implements`, so that the type checker compares both sides of the process.
    """

    target: str

    @property
    def service(self) -> str:
        """The service that owns the function: `training` of `services.training.job:evaluate`."""
        return self.target.split(".")[1]

    @property
    def name(self) -> str:
        """The function's name without its module."""
        return self.target.partition(":")[2]

    def implements(self, function: Callable[[Job[M], S], T]) -> Callable[[Job[M], S], T]:
        """Decorate the function that this declares. TypeError if it is not `target`."""
        found = f"{function.__module__}:{function.__qualname__}"
        if found != self.target:
            raise TypeError(f"{found} implements a job that is declared as {self.target}")
        return function


def gpu_memory() -> GpuMemory:
    """The memory of the GPU that this process computes on; empty without one. Does not load torch by itself."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {}
    device = torch.cuda.current_device()
    free, total = torch.cuda.mem_get_info(device)
    return {str(device): {"reserved": torch.cuda.memory_reserved(device), "used": total - free, "total": total}}
