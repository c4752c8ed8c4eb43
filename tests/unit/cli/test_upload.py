"""`primitives dataset upload`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli.main import app
from services.cli.upload import LONGEST_KEY, Uploaded, upload
from services.common.blobs import Blobs, open_blobs
from services.common.errors import InvalidInput, Unavailable
from services.training.raw.source.files import BucketFiles, FolderFiles

CONTENT = {"a.dcm": b"a" * 100, "P 1/Ä.dcm": b"b" * 2000, "P 1/c.csv": b"c"}


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return open_blobs(f"folder://{tmp_path / 'store'}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files, and with a hidden one and a link, which do not count."""
    root = tmp_path / "raw"
    for name, content in CONTENT.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (root / ".DS_Store").write_bytes(b"hidden")
    (root / "link.dcm").symlink_to(root / "a.dcm")
    return root


def send(blobs: Blobs, folder: Path, prefix: str = "set/") -> Uploaded:
    """Upload a folder to the bucket `raw`."""
    return upload(blobs, "raw", prefix, folder, lambda _done, _total, _sent: None)


def test_the_bucket_has_what_the_folder_has(blobs: Blobs, folder: Path) -> None:
    """An import finds the same names and bytes in both. Progress counts files and bytes."""
    seen: list[tuple[int, int, int]] = []
    done = upload(blobs, "raw", "set/", folder, lambda *counts: seen.append(counts))
    assert done == Uploaded(files=3, unchanged=0, bytes_sent=2101)
    assert [one[:2] for one in seen] == [(1, 3), (2, 3), (3, 3)] and seen[-1][2] == 2101
    stored = BucketFiles(blobs, "raw", "set/")
    assert stored.names == FolderFiles(folder).names == sorted(CONTENT)
    assert {name: stored.read(name) for name in stored.names} == CONTENT


def test_an_interrupted_upload_continues(blobs: Blobs, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only files that are missing, or whose bytes have changed, are sent again, also if their size is the same."""
    put = type(blobs).put_file

    def fail(self: Blobs, bucket: str, key: str, path: Path) -> object:
        if path.name == "c.csv":
            raise Unavailable("the store is away")
        return put(self, bucket, key, path)

    with monkeypatch.context() as patch:
        patch.setattr(type(blobs), "put_file", fail)
        with pytest.raises(Unavailable):
            send(blobs, folder)
    (folder / "a.dcm").write_bytes(b"A" * 100)
    before = set(blobs.list("raw", "set/"))
    assert "set/P 1/c.csv" not in before
    done = send(blobs, folder)
    assert (done.files, done.unchanged) == (3, len(before - {"set/a.dcm"}))
    assert BucketFiles(blobs, "raw", "set/").read("a.dcm") == b"A" * 100
    assert send(blobs, folder) == Uploaded(files=3, unchanged=3, bytes_sent=0)


def test_nothing_is_sent_that_an_import_would_read_wrongly(blobs: Blobs, folder: Path, tmp_path: Path) -> None:
    """Objects of something else, names that cannot be keys, and an empty folder are refused before anything is sent."""
    blobs.put("raw", "set/other.dcm", b"other")
    with pytest.raises(InvalidInput, match=r"raw/set/ has 1 objects that are no files of .*, such as 'set/other\.dcm'"):
        send(blobs, folder)
    assert list(blobs.list("raw")) == ["set/other.dcm"]
    (folder / "line\nbreak.dcm").touch()
    with pytest.raises(InvalidInput, match=r"line.*cannot be a key"):
        send(blobs, folder, "new/")
    (folder / "line\nbreak.dcm").unlink()
    with pytest.raises(InvalidInput, match="cannot be a key"):
        send(blobs, folder, "p" * LONGEST_KEY + "/")
    assert list(blobs.list("raw")) == ["set/other.dcm"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match="has no files"):
        send(blobs, tmp_path / "empty")


def test_the_command(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers with the place as an import names it, and refuses a bucket that may not be imported."""
    monkeypatch.setenv("PRIMITIVES_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PRIMITIVES_TRAINING_IMPORT_BUCKETS", "raw")
    words = ["dataset", "upload", str(folder)]
    answer = CliRunner().invoke(app, [*words, "raw", "--prefix", "/cbis/2017"])
    assert answer.exit_code == 0, answer.output
    printed = json.loads(answer.stdout)
    assert printed == {"bucket": "raw", "prefix": "cbis/2017/", "files": 3, "unchanged": 0, "bytes_sent": 2101}
    blobs = open_blobs(f"folder://{tmp_path / 'home' / 'objects'}")
    assert BucketFiles(blobs, "raw", "cbis/2017/").names == sorted(CONTENT)
    refused = CliRunner().invoke(app, [*words, "training"])
    assert refused.exit_code != 0
    assert "PRIMITIVES_TRAINING_IMPORT_BUCKETS" in str(refused.exception) + refused.output
