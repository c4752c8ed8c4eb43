"""Sealed names of files."""

import pytest

from services.common.errors import InvalidInput
from services.training.raw.sealing import seal_names, unseal_names

KEY = bytes(range(32))
NAMES = [f"1.2.840.{number}/1.3/1.4.{number}.dcm" for number in range(100)]


def test_sealed_names_are_read_with_the_same_key() -> None:
    """The same names give the same content, in which none of them can be found."""
    sealed = seal_names(KEY, NAMES)
    assert unseal_names(KEY, sealed) == NAMES
    assert sealed == seal_names(KEY, NAMES) and b"1.2.840" not in sealed


def test_another_key_or_a_change_is_refused() -> None:
    """The message names the setting."""
    sealed = seal_names(KEY, NAMES)
    for key, content in (
        (KEY[::-1], sealed),
        (KEY, sealed[:-1]),
        (KEY, b""),
        (KEY, bytes([sealed[0] ^ 1]) + sealed[1:]),
    ):
        with pytest.raises(InvalidInput, match="PRIMITIVES_TRAINING_PSEUDONYM_KEY_FILE"):
            unseal_names(key, content)
