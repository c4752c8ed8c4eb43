"""The names that buckets and keys may have in every form of the store."""

import re

from services.common.errors import InvalidInput
from services.common.redaction import quoted

_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")


def check_key(bucket: str, key: str) -> None:
    """Raise InvalidInput for a bucket that S3 would refuse, or a key that would leave the bucket's folder."""
    if not _BUCKET.fullmatch(bucket):
        raise InvalidInput(f"bucket name {quoted(bucket)} does not consist of 3 to 63 characters a-z, 0-9 and -")
    if not all(part and part not in (".", "..") and "\0" not in part for part in key.split("/")):
        raise InvalidInput(f"object key {quoted(key)} has an empty, '.' or '..' part")
