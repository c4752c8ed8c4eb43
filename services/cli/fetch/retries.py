"""When a download is retried: the limits, and the pauses between attempts."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


@dataclass(frozen=True)
class Limits:
    """How long a server may keep silent, and how often a file is retried.

    `retries` counts attempts in a row that brought less than `least_progress` bytes; `restarts` counts how often the
    file is begun again because its bytes were wrong. Times are in seconds.
    """

    connect_s: float = 15.0
    silence_s: float = 60.0
    retries: int = 6
    restarts: int = 3
    least_progress: int = 1 << 20
    first_pause_s: float = 1.0
    longest_pause_s: float = 120.0

    def pause(self, failures: int, requested: float | None) -> float:
        """Seconds until the next attempt: twice as long after each failure, with jitter, and at least as long as the
        server requested. No pause is longer than the longest."""
        longest = self.first_pause_s * 2.0 ** min(failures - 1, 30)
        jittered = min(longest, self.longest_pause_s) * random.uniform(0.5, 1.0)
        return min(max(jittered, requested or 0.0), self.longest_pause_s)


def retry_after(text: str | None) -> float | None:
    """The seconds of a Retry-After header, which holds seconds or a date. None if it is missing or neither."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text.strip()[:9])
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())
