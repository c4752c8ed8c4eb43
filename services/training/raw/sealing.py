"""Seals the names of a source's files, which identify patients, for storage next to the plan of an import.

AES-SIV (RFC 5297) under a key that is derived from that of the pseudonyms: authenticated, and the same names give the
same content, so that an import that is planned again finds its objects.
"""

import hashlib
import hmac
import json
import zlib
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from pydantic import TypeAdapter, ValidationError

from services.common.errors import InvalidInput

PURPOSE = b"names of the files of an import"
LARGEST_NAMES = 1 << 28
"""Bytes of all names."""
_NAMES = TypeAdapter(list[str])


def seal_names(key: bytes, names: Sequence[str]) -> bytes:
    """Encrypt names under a key of any length."""
    return _cipher(key).encrypt(zlib.compress(json.dumps(list(names)).encode()), [PURPOSE])


def unseal_names(key: bytes, sealed: bytes) -> list[str]:
    """Decrypt names. InvalidInput if they were sealed under another key, or changed."""
    try:
        content = _cipher(key).decrypt(sealed, [PURPOSE])
    except InvalidTag:
        raise InvalidInput(
            "the files of the import were listed under another key of pseudonyms; set "
            "PRIMITIVES_TRAINING_PSEUDONYM_KEY_FILE to the same key on all machines"
        ) from None
    inflater = zlib.decompressobj()
    plain = inflater.decompress(content, LARGEST_NAMES)
    try:
        return _NAMES.validate_json(plain)
    except ValidationError:
        raise InvalidInput(f"the names of the files have more than {LARGEST_NAMES} bytes") from None


def _cipher(key: bytes) -> AESSIV:
    return AESSIV(hmac.new(key, PURPOSE, hashlib.sha512).digest())
