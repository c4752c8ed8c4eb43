"""Manifests: which files an archive has, with sizes and hashes. Nothing in one can name a place outside the folder."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from services.common.errors import InvalidInput
from services.common.redaction import quoted

PART, NOTE = ".part", ".part.json"
"""The suffixes of an unfinished file, and of what is known about it."""
LARGEST_MANIFEST = 64 << 20
"""Bytes of a manifest."""
COLUMNS = "name, size, hash and URL, separated by tabs"
UNKNOWN = "-"

_HASH = re.compile(r"[0-9a-f]{64}|[0-9a-f]{32}")
_LONGEST_SIZE, _LONGEST_PART, _LONGEST_NAME = 18, 200, 1000


@dataclass(frozen=True)
class RemoteFile:
    """A file of an archive. `digest` is the SHA-256 (64 hexadecimal digits) or MD5 (32), or empty if the archive
    publishes none; `size` is in bytes, or None if it is not known."""

    name: str
    url: str
    size: int | None = None
    digest: str = ""

    def line(self) -> str:
        """The file as a line of a manifest."""
        size = UNKNOWN if self.size is None else str(self.size)
        return "\t".join((self.name, size, self.digest or UNKNOWN, self.url)) + "\n"


def parse_manifest(text: str, base: str, where: str) -> tuple[RemoteFile, ...]:
    """Parse a manifest: a line for each file, with COLUMNS; `#` begins a comment, `-` is an unknown size or hash. URLs
    are relative to `base`. InvalidInput names the line."""
    files: dict[str, RemoteFile] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        file = _parse_line(line, base, f"{where}, line {number}")
        if file.name in files:
            raise InvalidInput(f"{where}, line {number}: {quoted(file.name)} is in the manifest twice")
        files[file.name] = file
    if not files:
        raise InvalidInput(f"{where} names no files; expected lines of {COLUMNS}")
    return tuple(files.values())


def read_records(lines: Iterable[str]) -> dict[str, RemoteFile]:
    """The files that earlier runs recorded, by name. The last record of a file counts. Lines that a killed process cut
    are left out."""
    records: dict[str, RemoteFile] = {}
    for line in lines:
        fields = line.rstrip("\n").split("\t")
        if line.endswith("\n") and len(fields) == 4 and fields[1].isdecimal() and _HASH.fullmatch(fields[2]):
            records[fields[0]] = RemoteFile(fields[0], fields[3], int(fields[1]), fields[2])
    return records


def check_name(name: str) -> str:
    """Return the name of a file relative to the target folder, if it is one. InvalidInput if it could name another
    place, or one of the command's own files."""
    parts = name.split("/")
    plain = all(part and len(part) <= _LONGEST_PART and part[0] != "." and part.isprintable() for part in parts)
    if not plain or "\\" in name or len(name) > _LONGEST_NAME:
        raise InvalidInput(f"{quoted(name)} cannot be the name of a file in the target folder")
    if any(part.endswith((PART, NOTE)) for part in parts):
        raise InvalidInput(f"{quoted(name)} ends as unfinished files do")
    return name


def _parse_line(line: str, base: str, where: str) -> RemoteFile:
    fields = [field.strip() for field in line.split("\t")]
    if len(fields) != 4:
        raise InvalidInput(f"{where} has {len(fields)} columns; expected {COLUMNS}")
    name, size, digest, url = fields
    if size != UNKNOWN and not (size.isdecimal() and len(size) <= _LONGEST_SIZE):
        raise InvalidInput(f"{where}: size {quoted(size)}; expected bytes, or {UNKNOWN}")
    digest = digest.lower()
    if digest != UNKNOWN and not _HASH.fullmatch(digest):
        raise InvalidInput(f"{where}: hash {quoted(digest)}; expected a SHA-256 or MD5 in hexadecimal, or {UNKNOWN}")
    try:
        checked = check_name(name)
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error}") from error
    return RemoteFile(
        checked, _joined(base, url, where), None if size == UNKNOWN else int(size), "" if digest == UNKNOWN else digest
    )


def _joined(base: str, url: str, where: str) -> str:
    """The address of a relative URL. InvalidInput if it leaves the base."""
    parsed = urlsplit(url)
    if parsed.scheme or parsed.netloc or url.startswith("/") or ".." in parsed.path.split("/") or not url:
        raise InvalidInput(f"{where}: URL {quoted(url)}; expected one relative to the address of the archive")
    return f"{base.rstrip('/')}/{url}"
