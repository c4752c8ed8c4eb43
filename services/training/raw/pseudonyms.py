"""Pseudonyms of patients, exams and images by keyed hashes. The same key gives the same pseudonyms in every import, so
that a patient stays one patient; without the key, nobody can compute them from a list of identifiers."""

import hashlib
import hmac
import os
import secrets
from bisect import bisect_left
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from services.common.errors import InvalidInput
from services.common.machine.reading import read_at_most
from services.training.raw.case import Finding, Mask, RawMammogram
from services.training.raw.source.files import SourceFiles

SHORTEST_KEY = 32
"""Bytes of a key."""
LONGEST_KEY = 4096
KEY_FILE = "pseudonym.key"
_DIGITS = 16


@dataclass(frozen=True)
class Pseudonyms:
    """Pseudonyms under a key: the kind of thing, and 16 hexadecimal digits of HMAC-SHA256 over the kind and the text.
    InvalidInput for a key of fewer than 32 bytes."""

    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.key) < SHORTEST_KEY:
            raise InvalidInput(f"the key of the pseudonyms has {len(self.key)} bytes; expected at least {SHORTEST_KEY}")

    @classmethod
    def of_file(cls, path: Path) -> "Pseudonyms":
        """Read the key from a file, such as one that `openssl rand 32` has written."""
        try:
            return cls(read_at_most(path, LONGEST_KEY))
        except OSError as error:
            raise InvalidInput(f"the key file {path} cannot be read: {error.strerror}") from error

    def patient(self, text: str) -> str:
        """The pseudonym of a patient."""
        return self._of("patient", text)

    def exam(self, text: str) -> str:
        """The pseudonym of an exam."""
        return self._of("exam", text)

    def name(self, text: str) -> str:
        """The pseudonym of a mammogram."""
        return self._of("mammogram", text)

    def hide(self, mammogram: RawMammogram, files: SourceFiles) -> RawMammogram:
        """Replace the identifiers of a mammogram. Names of files may identify too: their numbers in the source take
        their place, of which `find_files` makes names again."""
        return replace(
            mammogram,
            name=self.name(mammogram.name),
            file=_number(files, mammogram.file),
            patient=self.patient(mammogram.patient),
            exam=self.exam(mammogram.exam),
            findings=tuple(_with_mask(finding, partial(_number, files)) for finding in mammogram.findings),
        )

    def _of(self, kind: str, text: str) -> str:
        digest = hmac.new(self.key, f"{kind}\0{text}".encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
        return f"{kind}-{digest[:_DIGITS]}"


def find_files(mammogram: RawMammogram, files: SourceFiles) -> RawMammogram:
    """Put names of files in the place of their numbers."""
    return replace(
        mammogram,
        file=_name(files, mammogram.file),
        findings=tuple(_with_mask(finding, partial(_name, files)) for finding in mammogram.findings),
    )


def open_pseudonyms(file: Path | None, home: Path) -> Pseudonyms:
    """The pseudonyms under the key of a file. Without one, the key is `pseudonym.key` in the home, which is made if it
    is missing; only its owner can read it."""
    if file is not None:
        return Pseudonyms.of_file(file)
    path = home / KEY_FILE
    with suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as made:
            made.write(secrets.token_bytes(SHORTEST_KEY))
    return Pseudonyms.of_file(path)


def _with_mask(finding: Finding, rename: Callable[[str], str]) -> Finding:
    return finding if finding.mask is None else replace(finding, mask=Mask(rename(finding.mask.file)))


def _number(files: SourceFiles, name: str) -> str:
    return str(bisect_left(files.names, name))


def _name(files: SourceFiles, number: str) -> str:
    return files.names[int(number)]
