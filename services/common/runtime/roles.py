"""What a process of a service that computes does: everything, or the part of its role."""

import threading
from collections.abc import Callable
from typing import NamedTuple

from services.common.bus import Bus, Consumer
from services.common.errors import InvalidInput
from services.common.redaction import quoted
from services.common.runtime.idle import IdleEnd
from services.common.runtime.service import Service, run_alone
from services.common.settings import ComputeSettings, Role

WORKERS: tuple[Role, ...] = ("worker", "plain-worker")
"""The roles whose process ends when it has no work."""


class Consumers(NamedTuple):
    """The consumers of a service that computes, by what their messages need. Every process declares all queues."""

    jobs: Consumer
    """Jobs that run networks: they use a GPU if there is one."""
    plain_jobs: Consumer
    """Jobs that need no GPU."""
    events: Consumer
    """Events, which must not wait for jobs."""

    def of(self, role: Role) -> tuple[Consumer, ...]:
        """Return the consumers of a role."""
        consumers: dict[Role, tuple[Consumer, ...]] = {
            "all": self,
            "front": (self.events,),
            "worker": (self.jobs,),
            "plain-worker": (self.plain_jobs,),
        }
        return consumers[role]

    @property
    def queues(self) -> list[str]:
        """The names of all queues."""
        return [consumer.queue for consumer in self]


def check_role(settings: ComputeSettings, bus: Bus) -> None:
    """Raise InvalidInput if a process leaves work to others, although its bus connects no other processes."""
    if settings.role != "all" and not bus.durable:
        variable = f"{settings.model_config['env_prefix']}ROLE"
        raise InvalidInput(f"{variable} is {quoted(settings.role)}; on memory:// one process must do all")


def run_in_role(name: str, settings: ComputeSettings, create: Callable[[Bus, IdleEnd | None], Service]) -> None:
    """Run one service in a process of its own until it is stopped. A worker also ends when it has no work."""
    over = threading.Event()
    idle = None
    if settings.role in WORKERS:
        idle = IdleEnd(settings.worker_idle_s, settings.worker_turn_s, over)
    run_alone(name, settings, lambda bus: create(bus, idle), over)
