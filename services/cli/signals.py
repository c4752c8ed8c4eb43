"""Signal handling for commands that start other processes, so that `finally` blocks end those processes too."""

import signal
import sys


def exit_on_signals() -> None:
    """Turn SIGTERM and SIGHUP into SystemExit, which runs every `finally` block."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
