"""What a merge reports while it runs, to whoever watches and to the alert that nothing moves."""

import math
import threading
import time

from services.common.work.jobs import Job

ALIVE_S = 15.0
"""Seconds after which a merge reports again within a layer: well within the 15 minutes after which an alert fires."""


class MergeProgress:
    """What a merge reports: how many layers are done, when one is, and again while its threads show that they live."""

    def __init__(self, job: Job) -> None:
        self._job, self._done, self._at = job, 0, -math.inf
        self._lock = threading.Lock()  # the job's connection is written by one thread at a time

    def layer_done(self) -> None:
        """One layer more is done."""
        with self._lock:
            self._done += 1
            self._report()

    def alive(self) -> None:
        """A sign of life, from any thread; reported if nothing was for ALIVE_S."""
        with self._lock:
            if time.monotonic() - self._at >= ALIVE_S:
                self._report()

    def _report(self) -> None:
        self._at = time.monotonic()
        self._job.report(done=self._done)
