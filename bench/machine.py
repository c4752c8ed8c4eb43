"""Facts about the machine that a bench ran on. Figures mean nothing without them."""

import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.specs import DeviceFacts
from services import __version__

if TYPE_CHECKING:
    import torch

QUIET = 0.05
QUIET_LIMIT_S = 60.0
WATCH_S = 2.0
CPU_TIMES = Path("/proc/stat")


def await_quiet() -> float:
    """Wait until all processors together are busy for less than 5 % of two seconds, for at most a minute, so that no
    measurement begins while services still start. Return how busy they were last (0..1). 0 on systems other than
    Linux."""
    if not CPU_TIMES.is_file():
        return 0.0
    deadline = time.monotonic() + QUIET_LIMIT_S
    while True:
        before = _cpu_times()
        time.sleep(WATCH_S)
        busy, total = (now - then for now, then in zip(_cpu_times(), before, strict=True))
        share = busy / max(total, 1)
        if share < QUIET or time.monotonic() > deadline:
            return round(share, 3)


def _cpu_times() -> tuple[int, int]:
    """Return the busy ticks and all ticks of all processors since the machine started."""
    ticks = [int(word) for word in CPU_TIMES.read_text().splitlines()[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)  # without idle and iowait


def machine_facts() -> dict[str, Any]:
    """Describe the machine and this version. A `load` above 0 means that other work blurs every figure."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "version": __version__,
    }


def device_facts(device: "torch.device") -> DeviceFacts:
    """Return torch's version, threads and device."""
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return DeviceFacts(torch=torch.__version__, threads=torch.get_num_threads(), device=name)


def _cpu_model() -> str:
    """Return the processor's name on Linux, its architecture elsewhere."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
