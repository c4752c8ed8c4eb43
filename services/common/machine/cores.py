"""How many cores this process may use."""

import math
import os
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""What a container is given of them (cgroups of version 2): microseconds of processor time in a period, or `max`, and
the period."""


def usable_cores() -> int:
    """Those that this process may run on, or as many as its container's limit is worth where that is less."""
    there = machine_cores()
    limit = _limit()
    return there if limit is None else max(1, min(there, math.ceil(limit)))


MOST_THREADS = 4
"""Threads that share the interpreter's lock without loss: of eight each waits for it most of the time. More work at a
time takes more processes."""


def working_threads() -> int:
    """How many threads of Python that mostly compute outside the interpreter's lock a process has work for."""
    return min(MOST_THREADS, usable_cores())


def machine_cores() -> int:
    """Those that this process may run on, for however little time."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def limit_openmp() -> None:
    """Have torch, if it is not imported yet, take no more threads than the container's limit is worth: it counts the
    cores of the machine. What OMP_NUM_THREADS says already stays."""
    if usable_cores() < machine_cores():
        os.environ.setdefault("OMP_NUM_THREADS", str(usable_cores()))


def _limit() -> float | None:
    if not QUOTA.is_file():
        return None
    quota, *period = QUOTA.read_text().split() or ["max"]
    return int(quota) / int(period[0]) if quota.isdecimal() and period and int(period[0]) > 0 else None
