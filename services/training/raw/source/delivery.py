"""The error of a source that is a server: a file did not arrive as requested."""

from services.common.errors import InvalidInput


class Undelivered(InvalidInput):
    """A file could not be retrieved, or is not the one requested. `reason` is for reports: it is the same for all files
    with this fault. The message names the file by its place."""

    def __init__(self, place: str, reason: str, detail: str = "") -> None:
        super().__init__(f"{place}: {detail}" if detail else place)
        self.reason = reason
