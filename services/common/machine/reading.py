"""Reading files that users hand over, up to a size: one that is larger by mistake or by intent fills no memory."""

from pathlib import Path

from services.common.errors import InvalidInput


def read_at_most(path: Path, most: int) -> bytes:
    """The content of a file. InvalidInput if it has more than `most` bytes, of which no more than that are read."""
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise too_large(path, path.stat().st_size, most)
    return content


def too_large(path: Path, size: int, most: int) -> InvalidInput:
    """The error of a file that is larger than is read."""
    return InvalidInput(f"{path} has {size} bytes; at most {most} are read")
