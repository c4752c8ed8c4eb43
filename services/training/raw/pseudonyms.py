"""Pseudonyms of patients, exams and images by keyed hashes. The same key gives the same pseudonyms in every import, so
that a patient stays one patient; without the key, nobody can compute them from a list of identifiers."""

import hashlib
import hmac
from dataclasses import dataclass, field, replace
from pathlib import Path

from services.common.errors import InvalidInput
from services.common.machine.reading import read_at_most
from services.training.raw.case import RawMammogram

SHORTEST_KEY = 32
"""Bytes of a key."""
LONGEST_KEY = 4096
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

    def hide(self, mammogram: RawMammogram) -> RawMammogram:
        """Replace the identifiers of a mammogram, and remove names of files, which may identify too. Read its pixels
        and masks before."""
        return replace(
            mammogram,
            name=self.name(mammogram.name),
            file="",
            patient=self.patient(mammogram.patient),
            exam=self.exam(mammogram.exam),
            findings=tuple(replace(finding, mask=None) for finding in mammogram.findings),
        )

    def _of(self, kind: str, text: str) -> str:
        digest = hmac.new(self.key, f"{kind}\0{text}".encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
        return f"{kind}-{digest[:_DIGITS]}"
