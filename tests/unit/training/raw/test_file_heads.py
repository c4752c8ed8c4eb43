"""The first bytes of files, in a folder and in a bucket."""

from pathlib import Path

import pytest

from services.common.blobs import FolderBlobs
from services.common.errors import NotFound
from services.training.raw.source.files import BucketFiles, FolderFiles, SourceFiles


@pytest.fixture(params=["folder", "bucket"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> SourceFiles:
    """A source with one file of ten bytes."""
    if request.param == "folder":
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "b.bin").write_bytes(b"0123456789")
        return FolderFiles(tmp_path)
    blobs = FolderBlobs(tmp_path)
    blobs.put("raw", "set/a/b.bin", b"0123456789")
    return BucketFiles(blobs, "raw", "set/")


def test_the_head_of_a_file_has_at_most_its_length(source: SourceFiles) -> None:
    """Fewer bytes come from a shorter file, and none from a missing one."""
    assert source.head("a/b.bin", 4) == b"0123"
    assert source.head("a/b.bin", 40) == b"0123456789"
    with pytest.raises(NotFound):
        source.head("a/c.bin", 4)
