"""Removal of files that a process left behind: they have not been written for a while."""

from datetime import datetime
from pathlib import Path
from stat import S_ISREG


def remove_old_files(folder: Path, before: datetime, dry_run: bool = False) -> tuple[int, int]:
    """Remove the files in a folder that were last written before a moment. Return their number and total bytes.

    Sub-folders are not searched. `dry_run` only counts. A missing folder counts as empty.
    """
    count = size = 0
    for path in folder.glob("*"):
        try:
            facts = path.lstat()
        except FileNotFoundError:  # moved or removed by another process at this moment
            continue
        if not S_ISREG(facts.st_mode) or facts.st_mtime >= before.timestamp():
            continue
        if not dry_run:
            path.unlink(missing_ok=True)
        count, size = count + 1, size + facts.st_size
    return count, size
