"""Measures whether the child processes of a service are working, for tests of pause and cancel."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

EFFECT_S = 5.0
"""Seconds within which a pause, a resume and a cancel must take effect, according to the docs."""
SAMPLE_S = 0.4
BUSY = 0.1
"""Share of a processor above which a child is working. A child that waits for a job uses none."""


def children_of(pid: int) -> list[int]:
    """Return the child processes of a process."""
    listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(child) for child in listed.stdout.split()]


def children_work(pid: int) -> bool:
    """Whether the children of a service use a processor, measured over a moment."""
    before = _seconds(pid)
    time.sleep(SAMPLE_S)  # a rate can only be measured over time
    return _seconds(pid) - before > BUSY * SAMPLE_S


def takes_effect(seen: Callable[[], bool]) -> float:
    """Wait until an effect is seen and return the seconds. Fail after EFFECT_S."""
    began = time.monotonic()
    while not seen():
        assert time.monotonic() - began < EFFECT_S, "no effect in time"
        time.sleep(0.05)
    return time.monotonic() - began


def _seconds(pid: int) -> float:
    return sum(map(_processor_seconds, children_of(pid)))


def _processor_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0  # it has just ended
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
