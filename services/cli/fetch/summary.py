"""What a fetch did, for the line of JSON at its end."""

from dataclasses import asdict, dataclass, field
from typing import Any

from services.cli.fetch.download import Fetched


@dataclass
class Summary:
    """`files` counts what the archive has; a series of images counts as one.

    `fetched` and `kept` count what is right in its place at the end, `bytes` what this run received, `resumed` the
    files that continued a part, and `refetched` those that were begun again because bytes were wrong. `unhashed` names
    files whose hash no source states, and `failed` those that could not be had, with reasons. `left` counts files that
    were not tried.
    """

    archive: str
    folder: str
    files: int
    fetched: int = 0
    kept: int = 0
    bytes: int = 0
    resumed: int = 0
    refetched: int = 0
    unhashed: list[str] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    left: int = 0

    def add(self, done: Fetched, was_damaged: bool) -> None:
        """Count a file that was fetched. `was_damaged`: an earlier one in its place was replaced."""
        self.fetched += 1
        self.resumed += done.resumed
        self.refetched += bool(done.restarts) or was_damaged

    def fail(self, name: str, reason: str) -> None:
        """Record a file that cannot be had."""
        self.failed.append({"name": name, "reason": reason})

    def finish(self, received: int) -> None:
        """Set the bytes that were received, and sort the lists by name: items finish in any order."""
        self.bytes = received
        self.unhashed.sort()
        self.failed.sort(key=lambda one: one["name"])

    def content(self) -> dict[str, Any]:
        """The summary as JSON."""
        return asdict(self)
