"""How many cores this process may use."""

import math
import os
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""The limit of a container (cgroups version 2): microseconds of processor time per period, or `max`; and the period."""


MAX_THREADS = 4
"""Threads that share the interpreter's lock without loss; of eight, each waits for it most of the time. More parallel
work needs more processes."""


def usable_cores() -> int:
    """Return the number of cores that this process may use: at most its container's limit, rounded up."""
    cores, limit = machine_cores(), _limit()
    return cores if limit is None else max(1, min(cores, math.ceil(limit)))


def working_threads() -> int:
    """Return how many threads to start for Python work that runs mostly outside the interpreter's lock."""
    return min(MAX_THREADS, usable_cores())


def machine_cores() -> int:
    """Return the number of cores that this process may run on, whatever its share of their time."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def limit_openmp() -> None:
    """Limit the threads of torch to the container's limit. Call it before torch is imported.

    Without it torch counts the cores of the machine. A value of OMP_NUM_THREADS that is already set stays.
    """
    if usable_cores() < machine_cores():
        os.environ.setdefault("OMP_NUM_THREADS", str(usable_cores()))


def _limit() -> float | None:
    if not QUOTA.is_file():
        return None
    quota, *period = QUOTA.read_text().split() or ["max"]
    return int(quota) / int(period[0]) if quota.isdecimal() and period and int(period[0]) > 0 else None
