"""Faults of a disk that pass when somebody makes room on it or mends it: such work is tried again, not given up."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from services.common.errors import Unavailable

PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)


@contextmanager
def transient_faults(what: str) -> Iterator[None]:
    """Raise Unavailable, which names what was written or read, for a full or broken disk."""
    try:
        yield
    except Exception as error:
        if not _passes(error):
            raise
        raise Unavailable(f"{what} fails on a full or broken disk: {error}") from error


def _passes(error: Exception) -> bool:
    """Whether an error is one of PASSING. Libraries in Rust, such as safetensors, tell its number in words alone."""
    if isinstance(error, OSError):
        return error.errno in PASSING
    return str(error).endswith(tuple(f"(os error {number})" for number in PASSING))
