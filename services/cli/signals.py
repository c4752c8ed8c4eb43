"""How a command ends that has started other processes: in order, so that they are ended too."""

import signal
import sys


def leave_in_order() -> None:
    """Turn SIGTERM and SIGHUP into SystemExit, which every `finally` sees."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
