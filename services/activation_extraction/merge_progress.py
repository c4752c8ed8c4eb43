"""The progress of a merge, for callers and for the alert on tasks that do not advance."""

import math
import threading
import time

from services.common.work.jobs import Job

HEARTBEAT_S = 15.0
"""Seconds between two reports of an unchanged progress: well within the 15 minutes after which the alert fires."""


class MergeProgress:
    """Reports the number of finished layers: when a layer is finished, and again while threads work on a layer."""

    def __init__(self, job: Job) -> None:
        self._job, self._done, self._reported = job, 0, -math.inf
        self._lock = threading.Lock()  # only one thread at a time may write to the job's connection

    def layer_done(self) -> None:
        """Report one more finished layer."""
        with self._lock:
            self._done += 1
            self._report()

    def heartbeat(self) -> None:
        """Report again if the last report is HEARTBEAT_S old. Any thread may call this."""
        with self._lock:
            if time.monotonic() - self._reported >= HEARTBEAT_S:
                self._report()

    def _report(self) -> None:
        self._reported = time.monotonic()
        self._job.report(done=self._done)
