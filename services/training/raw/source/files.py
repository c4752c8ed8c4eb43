"""The files of a source: a folder on this machine, or the objects of a bucket. Layouts see names with slashes only."""

import fnmatch
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from services.common.blobs import Blobs
from services.common.errors import InvalidInput, NotFound
from services.common.machine.reading import read_at_most
from services.common.redaction import quoted
from services.imaging.decode import LARGEST_IMAGE


class SourceFiles(Protocol):
    """The files of a source. Names are relative to its root, with slashes, and never lead out of it."""

    @property
    def names(self) -> list[str]:
        """The names of all files, sorted. They are listed once."""

    def read(self, name: str, most: int = LARGEST_IMAGE) -> bytes:
        """A whole file. NotFound if no file has this name; InvalidInput if it has more than `most` bytes."""

    def head(self, name: str, count: int) -> bytes:
        """The first `count` bytes of a file, or all if it has fewer. NotFound if no file has this name."""

    def where(self, name: str) -> str:
        """A file as messages name it."""


@dataclass(frozen=True)
class FolderFiles:
    """The files of a folder. Links that lead out of it are not followed, and hidden files are left out."""

    root: Path

    def __post_init__(self) -> None:
        if not self.root.is_dir():
            raise InvalidInput(f"{self.root} is not a folder")

    @cached_property
    def names(self) -> list[str]:
        """The names of all files, sorted."""
        return sorted(self._walk(self.root))

    def read(self, name: str, most: int = LARGEST_IMAGE) -> bytes:
        """A whole file."""
        path = self._path(name)
        try:
            return read_at_most(path, most)
        except OSError as error:
            raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error

    def head(self, name: str, count: int) -> bytes:
        """The first bytes of a file."""
        path = self._path(name)
        try:
            with path.open("rb") as file:
                return file.read(count)
        except OSError as error:
            raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error

    def where(self, name: str) -> str:
        """A file as messages name it."""
        return name

    def _path(self, name: str) -> Path:
        path = self.root / name
        if not path.resolve().is_relative_to(self.root.resolve()) or not path.is_file():
            raise NotFound(f"{self.root} has no file {quoted(name)}")
        return path

    def _walk(self, folder: Path) -> Iterator[str]:
        for path in folder.iterdir():
            if path.name.startswith(".") or path.is_symlink():
                continue
            if path.is_dir():
                yield from self._walk(path)
            elif path.is_file():
                yield path.relative_to(self.root).as_posix()


@dataclass(frozen=True)
class BucketFiles:
    """The objects of a bucket whose keys begin with `prefix`."""

    blobs: Blobs
    bucket: str
    prefix: str = ""

    @cached_property
    def names(self) -> list[str]:
        """The names of all objects below the prefix, sorted."""
        return sorted(key.removeprefix(self.prefix) for key in self.blobs.list(self.bucket, self.prefix))

    def read(self, name: str, most: int = LARGEST_IMAGE) -> bytes:
        """A whole object."""
        size = self.blobs.size(self.bucket, self.prefix + name)
        if size is None:
            raise NotFound(f"{self.bucket}/{self.prefix} has no file {quoted(name)}")
        if size > most:
            raise InvalidInput(f"{self.where(name)} has {size} bytes; at most {most} are read")
        return self.blobs.get(self.bucket, self.prefix + name)

    def head(self, name: str, count: int) -> bytes:
        """The first bytes of an object."""
        return self.blobs.get_range(self.bucket, self.prefix + name, 0, count)

    def where(self, name: str) -> str:
        """An object as messages name it."""
        return name


@dataclass(frozen=True)
class NameParts:
    """The parts of a file's name: its folders, then `stem`, and `suffix` in lower case without its dot."""

    folders: tuple[str, ...]
    stem: str
    suffix: str


def name_parts(name: str) -> NameParts:
    """Split the name of a file."""
    *folders, base = name.split("/")
    stem, _, suffix = base.rpartition(".")
    return NameParts(tuple(folders), stem, suffix.lower()) if stem else NameParts(tuple(folders), base, "")


def named(files: SourceFiles, pattern: str) -> list[str]:
    """The names that match a pattern of the shell, such as `*.ics`. Case does not matter; `*` also matches slashes."""
    lowered = pattern.lower()
    return [name for name in files.names if fnmatch.fnmatchcase(name.lower(), lowered)]


def one_named(files: SourceFiles, pattern: str) -> str:
    """The only name that matches a pattern. InvalidInput if none or several do."""
    found = named(files, pattern)
    if len(found) != 1:
        listing = f": {', '.join(found[:5])}" if found else ""
        raise InvalidInput(f"the source has {len(found)} files {pattern}{listing}; expected one")
    return found[0]


def place_of(files: SourceFiles, name: str) -> str:
    """A file as reports of private sources name it: by its number in the sorted list, such as `file 17`. Names and
    folders of files may contain names of patients."""
    return f"file {bisect_left(files.names, name) + 1}"
