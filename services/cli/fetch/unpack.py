"""Unpacks the ZIP of a series and checks every image against the list of MD5 hashes in it."""

import csv
import hashlib
import io
import os
import re
import shutil
import struct
import zipfile
import zlib
from pathlib import Path

HASHES = "md5hashes.csv"
"""The list of hashes that NBIA adds to the ZIP: columns Filename and MD5Hash. It stays with the images."""
LARGEST_IMAGE = 1 << 28
"""Bytes of an image. CBIS-DDSM's largest have about 100 MB."""

_LARGEST_HASHES = 1 << 20
_BLOCK = 1 << 20
_IMAGE = re.compile(r"[0-9A-Za-z_-]{1,64}\.dcm")
_FAULTS = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, KeyError, ValueError, NotImplementedError, RuntimeError,
)  # fmt: skip
"""What zipfile raises for damaged, encrypted or unsupported archives."""


class BadSeries(Exception):
    """The ZIP is not that of the series, or it is damaged."""


def unpack_series(archive: Path, folder: Path, images: int) -> int:
    """Unpack a series of a number of images into a new folder, and return the bytes of the images. BadSeries names what
    is wrong; what was unpacked until then is in the folder."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    try:
        with zipfile.ZipFile(archive) as source:
            members = {member.filename: member for member in source.infolist()}
            hashes = _read_hashes(source, members)
            _check_members(source, members, hashes, images)
            size = sum(_unpack(source, members[name], folder / name, hashes[name]) for name in sorted(hashes))
            (folder / HASHES).write_text("Filename,MD5Hash\n" + "".join(f"{n},{h}\n" for n, h in hashes.items()))
            return size
    except _FAULTS as error:
        raise BadSeries(f"the ZIP of the series is damaged: {error}") from error


def damaged_image(folder: Path, images: int) -> str:
    """The name of the first image of an unpacked series that is not as its list of hashes says; the list itself if
    images are missing there. Empty if all are right."""
    try:
        hashes = _parse_hashes((folder / HASHES).read_bytes()[:_LARGEST_HASHES])
    except (BadSeries, OSError):
        return HASHES
    if len(hashes) != images:
        return HASHES
    return next((name for name, digest in hashes.items() if _md5(folder / name) != digest), "")


def _read_hashes(source: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]) -> dict[str, str]:
    if HASHES not in members:
        raise BadSeries(f"the ZIP of the series has no {HASHES}: the server did not send all of it")
    with source.open(members[HASHES]) as content:
        return _parse_hashes(content.read(_LARGEST_HASHES))


def _parse_hashes(content: bytes) -> dict[str, str]:
    """The MD5 hashes of a list by the names of the images."""
    rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig", errors="replace")))
    hashes: dict[str, str] = {}
    for row in rows:
        name, digest = str(row.get("Filename")), str(row.get("MD5Hash")).lower()
        if not _IMAGE.fullmatch(name) or not re.fullmatch(r"[0-9a-f]{32}", digest) or name in hashes:
            raise BadSeries(f"row {len(hashes) + 1} of {HASHES} has no name of an image with its MD5")
        hashes[name] = digest
    return hashes


def _check_members(
    source: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], hashes: dict[str, str], images: int
) -> None:
    """Raise BadSeries unless the images are those of the list, in the number that the archive states."""
    found = [name for name in members if name.lower().endswith(".dcm")]
    if sorted(found) != sorted(hashes) or len(source.infolist()) != len(members):
        raise BadSeries(f"the ZIP of the series has {len(found)} images; {HASHES} names {len(hashes)} others")
    if len(found) != images:
        raise BadSeries(f"the ZIP of the series has {len(found)} images; the archive states {images}")
    for member in (members[name] for name in found):
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BadSeries(f"{member.filename} is compressed by method {member.compress_type}")
        if member.file_size > LARGEST_IMAGE:
            raise BadSeries(f"{member.filename} unpacks to {member.file_size} bytes; at most {LARGEST_IMAGE} are read")


def _unpack(source: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, expected: str) -> int:
    """Unpack an image. zipfile reads no more of it than the size that was checked."""
    digest, size = hashlib.md5(usedforsecurity=False), 0
    with source.open(member) as content, path.open("xb") as out:
        while block := content.read(_BLOCK):
            digest.update(block)
            size += out.write(block)
        out.flush()
        os.fsync(out.fileno())
    if digest.hexdigest() != expected:
        raise BadSeries(f"{member.filename} has MD5 {digest.hexdigest()}; expected {expected}")
    return size


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with path.open("rb") as content:
            while block := content.read(_BLOCK):
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()
