"""Transient faults of a disk: they pass when somebody frees space or repairs it, so the work is retried."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from services.common.errors import Unavailable

TRANSIENT = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)


@contextmanager
def transient_faults(what: str) -> Iterator[None]:
    """Raise Unavailable, which names `what` was written or read, for a full or broken disk."""
    try:
        yield
    except Exception as error:
        if not _is_transient(error):
            raise
        raise Unavailable(f"{what} fails on a full or broken disk: {error}") from error


def _is_transient(error: Exception) -> bool:
    """Return whether an error is one of TRANSIENT. Rust libraries such as safetensors give its number only as text."""
    if isinstance(error, OSError):
        return error.errno in TRANSIENT
    return str(error).endswith(tuple(f"(os error {number})" for number in TRANSIENT))
