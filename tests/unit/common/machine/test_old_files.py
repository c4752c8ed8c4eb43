"""The removal of old files."""

import os
from datetime import timedelta
from pathlib import Path

from services.common.blobs import FolderBlobs
from services.common.machine.old_files import remove_old_files
from services.common.records import now

HOUR = timedelta(hours=1)


def age(path: Path, hours: float) -> Path:
    """Set the age of a file in hours."""
    moment = (now() - hours * HOUR).timestamp()
    os.utime(path, (moment, moment))
    return path


def test_only_old_files_of_the_folder_itself_are_removed(tmp_path: Path) -> None:
    """Newer files, and folders with their files, stay; number and bytes of the removed files are returned."""
    (tmp_path / "sub").mkdir()
    for name in ("old", "new", "sub/old"):
        (tmp_path / name).write_bytes(b"1234")
    for name in ("old", "sub/old", "sub"):
        age(tmp_path / name, 2)
    assert remove_old_files(tmp_path, now() - HOUR, dry_run=True) == (1, 4)
    assert remove_old_files(tmp_path, now() - HOUR) == (1, 4)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["new", "old", "sub"]
    assert remove_old_files(tmp_path, now() - HOUR) == (0, 0)
    assert remove_old_files(tmp_path / "nowhere", now()) == (0, 0)


def test_the_folder_store_discards_unfinished_files(tmp_path: Path) -> None:
    """A half-written file of a killed process is removed once it is old; objects stay, however old they are."""
    blobs = FolderBlobs(tmp_path)
    blobs.put("some-bucket", "key", b"x")
    age(tmp_path / "some-bucket" / "key", 5)
    age_of = {"half": 2, "in-progress": 0}
    for name, hours in age_of.items():
        (tmp_path / ".incoming" / name).write_bytes(b"hal")
        age(tmp_path / ".incoming" / name, hours)
    assert blobs.discard_unfinished("some-bucket", now() - HOUR) == 1
    assert [path.name for path in (tmp_path / ".incoming").iterdir()] == ["in-progress"]
    assert blobs.get("some-bucket", "key") == b"x"
