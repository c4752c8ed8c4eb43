"""What a bench ran on: figures mean nothing without it."""

import os
import platform
from pathlib import Path
from typing import Any

from services import __version__


def machine_facts() -> dict[str, Any]:
    """This machine and this version, and how busy the machine was already: a load above 0 blurs every figure."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "version": __version__,
    }


def _cpu_model() -> str:
    """The processor's name as Linux tells it; elsewhere its architecture."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
