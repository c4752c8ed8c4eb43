"""An unfinished file, next to its place: `NAME.part` with its bytes, and `NAME.part.json` with what the server said."""

import os
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ValidationError

from services.cli.fetch.manifest import NOTE, PART
from services.common.machine.reading import read_at_most

_LARGEST_NOTE = 1 << 16


class Note(BaseModel):
    """What is known about an unfinished file: where it is from, which version (`validator`: a strong ETag or a
    Last-Modified, or empty), and its size in bytes."""

    url: str = ""
    validator: str = ""
    size: int | None = None


class Part:
    """An unfinished file of a path."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(path.name + PART)
        self._final = path
        self._note = path.with_name(path.name + NOTE)

    def length(self) -> int:
        """The bytes that are there."""
        try:
            return self.path.lstat().st_size
        except FileNotFoundError:
            return 0

    def note(self) -> Note:
        """What is known; nothing if the note is missing or damaged."""
        try:
            return Note.model_validate_json(read_at_most(self._note, _LARGEST_NOTE))
        except (FileNotFoundError, ValidationError):
            return Note()

    def begin(self, note: Note) -> None:
        """Start with no bytes. The note is written second, so that it never describes older bytes."""
        self.discard()
        with self.append():
            self._note.write_text(note.model_dump_json())

    def append(self) -> BinaryIO:
        """Open the file to add bytes. A link in its place is not followed."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        return os.fdopen(os.open(self.path, flags, 0o644), "ab")

    def finish(self) -> None:
        """Move the file to its place, once its bytes are on the disk."""
        with self.append() as content:
            os.fsync(content.fileno())
        self.path.replace(self._final)
        self._note.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove what is there."""
        self._note.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)
