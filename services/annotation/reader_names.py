"""Names of readers."""

import unicodedata

from services.common.errors import InvalidInput

LONGEST_NAME = 80

_REFUSED = {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"}
_BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks that change the direction of text: a name must not change how the page around it reads."""


def reader_name(typed: str) -> str:
    """A reader's name as it is stored: trimmed, NFC, single spaces. InvalidInput explains why a name is not valid."""
    name = " ".join(unicodedata.normalize("NFC", typed).split())
    if not 1 <= len(name) <= LONGEST_NAME:
        raise InvalidInput(f"A name has 1 to {LONGEST_NAME} characters; this one has {len(name)}.")
    if any(unicodedata.category(letter) in _REFUSED or letter in _BIDI for letter in name):
        raise InvalidInput("A name consists of letters, digits, spaces and punctuation.")
    return name


def name_key(name: str) -> str:
    """The form in which a name is unique: `Ána` and `ána` are one reader."""
    return unicodedata.normalize("NFC", name.casefold())
