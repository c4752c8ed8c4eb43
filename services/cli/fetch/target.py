"""The folder that a fetch fills. No name leads out of it, not even through a link. One process fills it at a time."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.cli.fetch.manifest import RemoteFile, check_name, read_records
from services.common.errors import Conflict, InvalidInput, Unavailable
from services.common.redaction import quoted

RECORD = "fetched.tsv"
"""The record of finished files. It is a manifest: `--manifest` reads it elsewhere."""
RESERVE = 1 << 30
"""Bytes of the disk that a fetch leaves free."""

_LOCK, _BLOCK = ".fetch.lock", 1 << 20


class Target:
    """A folder, with the record of what was fetched into it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder.resolve()

    def path(self, name: str) -> Path:
        """The path of a file, in a folder that exists. InvalidInput if the name, or a link on the way, leads outside of
        the target."""
        path = self.folder / check_name(name)
        if name == RECORD:
            raise InvalidInput(f"{quoted(name)} is the record of the fetch itself")
        _require_inside(path.parent, self.folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            raise InvalidInput(f"{quoted(name)} is a link in the target folder; remove it")
        return path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for the block. Conflict if another process does."""
        with (self.folder / _LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Conflict(f"another process fetches into {self.folder}") from error
            yield

    def records(self) -> dict[str, RemoteFile]:
        """The files that are recorded as finished, by name."""
        try:
            with (self.folder / RECORD).open(encoding="utf-8", errors="replace") as lines:
                return read_records(lines)
        except FileNotFoundError:
            return {}

    def record(self, file: RemoteFile) -> None:
        """Record a finished file."""
        path = self.folder / RECORD
        torn = path.exists() and path.stat().st_size > 0 and not _ends_with_newline(path)
        with path.open("a", encoding="utf-8") as out:
            out.write(("\n" if torn else "") + file.line())

    def require_space(self, needed: int) -> None:
        """Raise Unavailable if the disk has less than the bytes needed, and a reserve, free."""
        free = shutil.disk_usage(self.folder).free
        if free < needed + RESERVE:
            wanted = f"expected {needed / 1e9:.1f} GB and {RESERVE / 1e9:.1f} GB that stay free"
            raise Unavailable(f"the disk of {self.folder} has {free / 1e9:.1f} GB free; {wanted}")


def digest_of(path: Path, like: str) -> str:
    """The hash of a file in hexadecimal: MD5 if `like` is one, otherwise SHA-256."""
    digest = hashlib.md5(usedforsecurity=False) if len(like) == 32 else hashlib.sha256()
    with path.open("rb") as content:
        while block := content.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Wait until a file is on the disk."""
    with path.open("rb") as content:
        os.fsync(content.fileno())


def _require_inside(parent: Path, folder: Path, name: str) -> None:
    if not parent.resolve().is_relative_to(folder):
        raise InvalidInput(f"{quoted(name)} leads outside of the target folder, through a link")


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as content:
        content.seek(-1, os.SEEK_END)
        return content.read(1) == b"\n"
