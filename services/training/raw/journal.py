"""The journal of a part that is being cut: an object that outlives the process. So a file that crashes the decoder is
left out by the next attempt, and does not fail the import."""

from collections import Counter
from types import TracebackType

from pydantic import BaseModel

from services.common.blobs import Blobs

MOST_ENDS = 3
"""A mammogram is left out if this many processes ended while they were cutting it. One end alone says little: workers
are also killed for reasons that have nothing to do with the file."""


class JournalEntry(BaseModel):
    """The mammogram that is being cut, or was when the process ended, and how often processes ended with each."""

    current: str = ""
    ends: dict[str, int] = {}


class PartJournal:
    """Use it as a context manager around the cutting of a part. A process that is killed leaves its entry behind."""

    def __init__(self, blobs: Blobs, bucket: str, key: str) -> None:
        self._blobs, self._bucket, self._key = blobs, bucket, key
        self._ends: Counter[str] = Counter()

    def __enter__(self) -> "PartJournal":
        left = self._read()
        self._ends = Counter(left.ends)
        if left.current:
            self._ends[left.current] += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if kind is not None and self._ends:  # the next attempt needs to know what crashed before
            self._write("")
        else:
            self._blobs.delete(self._bucket, self._key)

    def begin(self, mammogram: str) -> bool:
        """Note that a mammogram is being cut, unless it must be left out."""
        if self._ends[mammogram] >= MOST_ENDS:
            return False
        self._write(mammogram)
        return True

    def blame(self) -> bool:
        """Have the mammogram that was being cut left out, since the process is known to have crashed or hung on it.
        Return whether there was one."""
        left = self._read()
        if not left.current:
            return False
        self._ends = Counter(left.ends) | Counter({left.current: MOST_ENDS})
        self._write("")
        return True

    def _read(self) -> JournalEntry:
        if self._blobs.size(self._bucket, self._key) is None:
            return JournalEntry()
        return JournalEntry.model_validate_json(self._blobs.get(self._bucket, self._key))

    def _write(self, current: str) -> None:
        entry = JournalEntry(current=current, ends={name: ends for name, ends in self._ends.items() if ends})
        self._blobs.put(self._bucket, self._key, entry.model_dump_json().encode())
