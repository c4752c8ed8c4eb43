"""A shard while it is being written: a tar in a local file."""

import io
import tarfile
import tempfile
from pathlib import Path

from services.imaging.patches import Patch

SHARD_BYTES = 256 << 20
NUMBER_DIGITS = 9
"""Digits of the number with which the name of an entry begins."""


class ShardFile:
    """A tar of patches of one split. Equal patches give equal bytes: headers contain only name and size.

    `first` is the id of its first patch. Entries are named by numbers that begin with it, or with `numbered_from`.
    """

    def __init__(self, split: str, first: int, numbered_from: int | None = None) -> None:
        self.split, self.first = split, first
        self._next = first if numbered_from is None else numbered_from
        with tempfile.NamedTemporaryFile(prefix="shard-", suffix=".tar", delete=False) as file:
            self._path = Path(file.name)
        self._tar = tarfile.open(self._path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 - closed by close
        self._count = 0

    def add(self, patch: Patch) -> int:
        """Append a patch and return the offset of its bytes in the tar."""
        extension = "png" if patch.image.startswith(b"\x89PNG") else "jpg"
        entry = tarfile.TarInfo(f"{self._next + self._count:0{NUMBER_DIGITS}d}.{extension}")
        entry.size = len(patch.image)
        entry.mode = 0o644
        offset = self._tar.offset + tarfile.BLOCKSIZE
        self._tar.addfile(entry, io.BytesIO(patch.image))
        self._count += 1
        return offset

    def full(self, patches: int) -> bool:
        """Return whether the next patch belongs in another shard, for shards of at most `patches` patches."""
        return self._count >= patches or self._tar.offset >= SHARD_BYTES

    def close(self) -> Path:
        """Finish the file and return its path."""
        self._tar.close()
        return self._path

    def discard(self) -> None:
        """Delete the file."""
        self._tar.close()
        self._path.unlink(missing_ok=True)
