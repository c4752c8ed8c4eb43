"""Damages a file in one of many ways, as a seeded generator chooses."""

import io
import re
import zipfile
from collections.abc import Callable
from random import Random

HEAD = 1024
"""Bytes at the beginning of a file, where half of the changes go: headers are there."""
NUMBERS = (b"-1", b"0", b"1e308", b"NaN", b"inf", b"-inf", b"99999999", b"9" * 30, b"0x10", b"1.5", b"", b"\xd9\xa3")
ENCODINGS = ("utf-16", "utf-16-le", "utf-32", "cp1252", "utf-8-sig", "utf-7")
DELIMITERS = (b",", b";", b"\t", b" ")
LONGEST_CHUNK = 64

_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
Mutation = Callable[[Random, bytes], bytes]


def truncate(rng: Random, content: bytes) -> bytes:
    """Cut off the end."""
    return content[: _place(rng, content)]


def flip_bits(rng: Random, content: bytes) -> bytes:
    """Change single bits."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8, 32))):
        if changed:
            changed[_place(rng, changed)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def overwrite(rng: Random, content: bytes) -> bytes:
    """Replace a chunk by one of zeros, of ones, or of noise."""
    at, length = _chunk(rng, content)
    new = rng.choice((b"\x00" * length, b"\xff" * length, rng.randbytes(length)))
    return content[:at] + new + content[at + length :]


def insert(rng: Random, content: bytes) -> bytes:
    """Insert noise, or characters that mean something in tables."""
    at = _place(rng, content)
    new = rng.choice(
        (rng.randbytes(rng.randrange(1, LONGEST_CHUNK)), b'"', b"\n", b"\x00", b"[", b"<", b"&x;", b"..", b"/")
    )
    return content[:at] + new + content[at:]


def delete(rng: Random, content: bytes) -> bytes:
    """Remove a chunk."""
    at, length = _chunk(rng, content)
    return content[:at] + content[at + length :]


def repeat(rng: Random, content: bytes) -> bytes:
    """Write a chunk twice, or very often."""
    at, length = _chunk(rng, content)
    return content[: at + length] + content[at : at + length] * rng.choice((1, 1, 2, 2000)) + content[at + length :]


def empty(_rng: Random, _content: bytes) -> bytes:
    """Leave nothing."""
    return b""


def other_line(rng: Random, content: bytes) -> bytes:
    """Repeat, remove or exchange lines."""
    lines = content.splitlines(keepends=True)
    if not lines:
        return content
    first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(3)
    if kind == 0:
        lines.insert(second, lines[first])
    elif kind == 1:
        del lines[first]
    else:
        lines[first], lines[second] = lines[second], lines[first]
    return b"".join(lines)


def swap_cells(rng: Random, content: bytes) -> bytes:
    """Exchange two cells of a line, or of two lines."""
    delimiter = rng.choice(DELIMITERS)
    lines = [line.split(delimiter) for line in content.split(b"\n")]
    first, second = rng.choice(lines), rng.choice(lines)
    one, other = rng.randrange(len(first)), rng.randrange(len(second))
    first[one], second[other] = second[other], first[one]
    return b"\n".join(delimiter.join(cells) for cells in lines)


def other_number(rng: Random, content: bytes) -> bytes:
    """Replace a number by one that is huge, negative or none."""
    found = list(_NUMBER.finditer(content))
    if not found:
        return content
    one = rng.choice(found)
    return content[: one.start()] + rng.choice(NUMBERS) + content[one.end() :]


def other_encoding(rng: Random, content: bytes) -> bytes:
    """Write the text in another encoding."""
    return content.decode("utf-8", "replace").encode(rng.choice(ENCODINGS), "replace")


ANY: tuple[Mutation, ...] = (truncate, flip_bits, overwrite, insert, delete, repeat, empty)
TEXT: tuple[Mutation, ...] = (other_line, swap_cells, other_number, other_number, other_encoding)


def mutate(rng: Random, content: bytes, other_file: Callable[[], bytes]) -> tuple[str, bytes]:
    """Damage the content of a file, and return the name of the damage. `other_file` returns the content of another
    file, which sometimes takes its place."""
    while True:
        name, changed = _mutate_once(rng, content, other_file)
        if changed != content:
            return name, changed


def _mutate_once(rng: Random, content: bytes, other_file: Callable[[], bytes]) -> tuple[str, bytes]:
    if rng.random() < 0.05:
        return "other_file", other_file()
    if zipfile.is_zipfile(io.BytesIO(content)) and rng.random() < 0.8:
        return _in_archive(rng, content)
    text = b"\x00" not in content[:HEAD] and not content.startswith((b"\x89", b"\xff\xd8"))
    mutation = rng.choice((*ANY, *TEXT, *TEXT) if text else ANY)
    return mutation.__name__, mutation(rng, content)


def _in_archive(rng: Random, content: bytes) -> tuple[str, bytes]:
    """Damage a member of a workbook, so that the archive itself stays sound."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    chosen = rng.choice(list(members))
    mutation = rng.choice((*ANY, *TEXT))
    members[chosen] = mutation(rng, members[chosen])
    changed = io.BytesIO()
    with zipfile.ZipFile(changed, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return f"{mutation.__name__} in {chosen}", changed.getvalue()


def _place(rng: Random, content: bytes | bytearray) -> int:
    return rng.randrange(max(1, min(len(content), HEAD) if rng.random() < 0.5 else len(content)))


def _chunk(rng: Random, content: bytes) -> tuple[int, int]:
    at = _place(rng, content)
    return at, min(rng.randrange(1, LONGEST_CHUNK), len(content) - at)
