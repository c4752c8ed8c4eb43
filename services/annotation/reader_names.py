"""Names of readers.

Two names that look the same must be one reader: otherwise somebody could answer, or be credited, as a reader who is not
theirs. So names are compared in Unicode's form NFKC, which writes `Ａｎａ` (full width) as `Ana`, without regard to
case, and invisible characters are refused. Readers from before these rules keep their names: see `lookup_keys`.
"""

import unicodedata

from services.common.errors import InvalidInput

LONGEST_NAME = 80
LONGEST_TYPED = 1000
"""Characters of a name with its blanks. Longer text is not normalized: that takes quadratic time for accents."""

_UNPRINTABLE = {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Categories of characters that no name has ever had."""
_FORMAT = "Cf"
"""The category of joiners and of marks that change the direction of text."""
_INVISIBLE = frozenset(
    map(
        chr,
        [
            0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x2800, 0x3164, 0xFFA0,
            *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0),
        ],
    )
)  # fmt: skip
"""Characters of other categories that show nothing: joiners, fillers, and selectors of a variant."""


def reader_name(typed: str) -> str:
    """A reader's name as it is stored: trimmed, NFC, single spaces. InvalidInput explains why a name is not valid."""
    if len(typed) > LONGEST_TYPED:
        raise InvalidInput(f"A name has 1 to {LONGEST_NAME} characters; this one has {len(typed)}.")
    name = _spaced(unicodedata.normalize("NFC", typed))
    longest = max(len(name), len(unicodedata.normalize("NFKC", name)))
    if not 1 <= longest <= LONGEST_NAME:
        raise InvalidInput(f"A name has 1 to {LONGEST_NAME} characters; this one has {longest}.")
    if _is_unprintable(name):
        raise InvalidInput("A name consists of letters, digits, spaces and punctuation.")
    if any(unicodedata.category(letter) == _FORMAT or letter in _INVISIBLE for letter in name):
        raise InvalidInput("A name has no invisible characters; this one has some.")
    return name


def name_key(name: str) -> str:
    """The form in which a name is unique: `Ána`, `ána` and `Ａna` are one reader."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return _spaced(unicodedata.normalize("NFKC", folded))


def lookup_keys(typed: str) -> tuple[str, ...]:
    """The keys under which the table may have a reader; none for text that no name has ever had.

    The first is the form in which names were unique before `name_key`. Readers from then are found by it and stay the
    same readers, also those whose names would be refused today.
    """
    if len(typed) > LONGEST_TYPED:
        return ()
    name = _spaced(unicodedata.normalize("NFC", typed))
    if not name or _is_unprintable(name):
        return ()
    return unicodedata.normalize("NFC", name.casefold()), name_key(name)


def is_same_name(one: str, other: str) -> bool:
    """Whether two names are those of one reader."""
    return any(a == b for a, b in zip(lookup_keys(one), lookup_keys(other), strict=False))


def _is_unprintable(name: str) -> bool:
    return any(unicodedata.category(letter) in _UNPRINTABLE for letter in name)


def _spaced(text: str) -> str:
    return " ".join(text.split())
