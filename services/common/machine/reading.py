"""Reading files from users up to a size, so that a file that is too large cannot fill the memory."""

from pathlib import Path

from services.common.errors import InvalidInput


def read_at_most(path: Path, most: int) -> bytes:
    """Read a file of at most `most` bytes. InvalidInput if it is larger; no more than `most` + 1 bytes are read."""
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise too_large(path, path.stat().st_size, most)
    return content


def too_large(path: Path, size: int, most: int) -> InvalidInput:
    """Return the error for a file that is larger than the limit."""
    return InvalidInput(f"{path} has {size} bytes; at most {most} are read")
