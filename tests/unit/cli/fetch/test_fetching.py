"""A whole archive: what is fetched, kept and refused, with several connections, and in a process that is killed."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections import namedtuple
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from services.cli.fetch import fetching
from services.cli.fetch.archives import Archive, find_archive
from services.cli.fetch.fetching import MOST_FAILURES, FetchOptions, fetch_archive
from services.cli.fetch.manifest import RemoteFile, parse_manifest
from services.cli.fetch.retries import Limits
from services.cli.fetch.summary import Summary
from services.cli.fetch.target import RECORD, RESERVE, Target
from services.cli.main import app
from services.common.errors import Conflict, InvalidInput, Unavailable
from tests.fakes.archive_server import ArchiveServer, Fault, series_path, serve_series

LIMITS = Limits(silence_s=2.0, retries=1, restarts=1, least_progress=1000, first_pause_s=0.001, longest_pause_s=0.01)
CONTENTS = {f"f{number}.bin": random.Random(number).randbytes(20_000 + number) for number in range(8)}
IMAGES = [b"DICM" * 1000]
ROOT = Path(__file__).parents[4]


def manifest_of(contents: dict[str, bytes]) -> str:
    """A manifest with the right sizes and hashes."""
    return "".join(
        RemoteFile(name, name, len(content), hashlib.sha256(content).hexdigest()).line()
        for name, content in contents.items()
    )


@pytest.fixture
def archive(server: ArchiveServer) -> Archive:
    """An archive of eight files with hashes, which the server has."""
    for name, content in CONTENTS.items():
        server.add(f"/{name}", content)
    files = parse_manifest(manifest_of(CONTENTS), server.url, "manifest")
    return Archive("test", files, sum(map(len, CONTENTS.values())))


def run(archive: Archive, folder: Path, **options: Any) -> Summary:
    """Fetch an archive."""
    return fetch_archive(archive, folder, FetchOptions(**options), LIMITS)


def files_of(folder: Path) -> dict[str, bytes]:
    """The files of a folder by name, without those of the command itself."""
    own = (RECORD, ".fetch.lock")
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in own}


def test_everything_arrives_once(archive: Archive, server: ArchiveServer, tmp_path: Path) -> None:
    """The first run fetches all; the second requests nothing."""
    first, requests = run(archive, tmp_path), len(server.requests)
    second = run(archive, tmp_path)
    assert files_of(tmp_path) == CONTENTS and requests == 8 == len(server.requests)
    assert (first.files, first.fetched, first.kept, first.bytes) == (8, 8, 0, archive.bytes)
    assert (second.files, second.fetched, second.kept, second.bytes) == (8, 0, 8, 0)
    assert first.failed == second.failed == [] and not first.unhashed


def test_one_bad_file_does_not_stop_the_others(archive: Archive, server: ArchiveServer, tmp_path: Path) -> None:
    """The summary names the file that fails and why, and counts the others."""
    server.files["/f3.bin"].always = Fault(flip=0)
    server.files["/f5.bin"].faults = [Fault(cut=15_000)]
    server.files["/f6.bin"].faults = [Fault(flip=9)]
    del server.files["/f7.bin"]
    summary = run(archive, tmp_path)
    assert files_of(tmp_path) == {name: CONTENTS[name] for name in CONTENTS if name not in ("f3.bin", "f7.bin")}
    assert (summary.fetched, summary.resumed, summary.refetched) == (6, 1, 1)
    reasons = {one["name"]: one["reason"] for one in summary.failed}
    assert reasons.keys() == {"f3.bin", "f7.bin"} and "expected" in reasons["f3.bin"] and "404" in reasons["f7.bin"]


def test_several_connections_work_at_the_same_time(archive: Archive, server: ArchiveServer, tmp_path: Path) -> None:
    """Four answers are halted at once, and none of the others begins before one ends."""
    for served in server.files.values():
        served.faults = [Fault(stall=100)]
    limits = replace(LIMITS, silence_s=30.0)
    working = threading.Thread(target=fetch_archive, args=(archive, tmp_path, FetchOptions(connections=4), limits))
    working.start()
    while len(server.requests) < 4:
        server.stalled.wait()
    assert len(server.requests) == 4
    server.release.set()
    working.join()
    assert files_of(tmp_path) == CONTENTS


def test_verification_finds_what_has_changed(archive: Archive, server: ArchiveServer, tmp_path: Path) -> None:
    """A changed byte is found with `verify` only, a missing one also by the size. Both files are replaced."""
    run(archive, tmp_path)
    (tmp_path / "f1.bin").write_bytes(CONTENTS["f1.bin"][:-1] + b"x")
    (tmp_path / "f2.bin").write_bytes(CONTENTS["f2.bin"][:-1])
    assert run(archive, tmp_path).refetched == 1
    assert files_of(tmp_path)["f2.bin"] == CONTENTS["f2.bin"] and files_of(tmp_path)["f1.bin"].endswith(b"x")
    assert run(archive, tmp_path, verify=True).refetched == 1
    assert files_of(tmp_path) == CONTENTS
    assert run(archive, tmp_path, verify=True).kept == 8


def test_files_without_a_known_hash_need_consent(archive: Archive, server: ArchiveServer, tmp_path: Path) -> None:
    """They are refused before anything is fetched. Accepted, their hash is recorded, and later runs verify it."""
    unhashed = replace(archive, files=tuple(replace(file, digest="", size=None) for file in archive.files[:2]))
    with pytest.raises(InvalidInput, match=r"no hash is known of f0.bin, f1.bin; pass --manifest FILE"):
        run(unhashed, tmp_path)
    assert server.requests == []
    assert run(unhashed, tmp_path, accept_unhashed=True).unhashed == ["f0.bin", "f1.bin"]
    recorded = Target(tmp_path).records()["f1.bin"]
    assert (recorded.size, recorded.digest) == (20_001, hashlib.sha256(CONTENTS["f1.bin"]).hexdigest())
    (tmp_path / "f1.bin").write_bytes(b"other")
    assert run(unhashed, tmp_path, accept_unhashed=True, verify=True).refetched == 1
    assert files_of(tmp_path)["f1.bin"] == CONTENTS["f1.bin"]


def test_only_some_are_fetched(archive: Archive, server: ArchiveServer, tmp_path: Path) -> None:
    """Patterns choose files by name; one that matches nothing is an error."""
    assert run(archive, tmp_path, only=("f[12].bin", "f7*")).fetched == 3
    assert files_of(tmp_path).keys() == {"f1.bin", "f2.bin", "f7.bin"}
    with pytest.raises(InvalidInput, match="nothing of test has a name like nothing"):
        run(archive, tmp_path, only=("nothing",))


def test_a_server_that_is_away_is_not_tried_for_each_file(server: ArchiveServer, tmp_path: Path) -> None:
    """After a number of failures one after the other, the rest is left."""
    files = tuple(RemoteFile(f"g{number}", f"{server.url}/g{number}", 1, "0" * 64) for number in range(200))
    summary = run(Archive("test", files, 200), tmp_path, connections=2)
    assert MOST_FAILURES <= len(summary.failed) < MOST_FAILURES + 4
    assert summary.left == 200 - len(summary.failed) and len(server.requests) < MOST_FAILURES + 10


def test_the_disk_must_have_room(archive: Archive, server: ArchiveServer, tmp_path: Path) -> None:
    """Sizes of the manifest count, or else the size of the archive; what is there needs none."""
    free = archive.bytes + RESERVE - 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: namedtuple("Usage", "free")(free))
        with pytest.raises(Unavailable, match=r"GB free; expected 0.0 GB and 1.1 GB that stay free"):
            run(archive, tmp_path)
        unknown = replace(archive, files=tuple(replace(file, size=None) for file in archive.files))
        with pytest.raises(Unavailable, match="GB free"):
            run(unknown, tmp_path)
        assert server.requests == []
        run(archive, tmp_path, only=("f0.bin",))
        assert run(archive, tmp_path).fetched == 7


def test_one_process_fills_a_folder(archive: Archive, tmp_path: Path) -> None:
    """A second fetch into the same folder is refused."""
    with Target(tmp_path).locked(), pytest.raises(Conflict, match="another process fetches into"):
        run(archive, tmp_path)
    assert run(archive, tmp_path).fetched == 8


def test_the_record_is_not_a_file_of_an_archive(archive: Archive, server: ArchiveServer, tmp_path: Path) -> None:
    """A manifest cannot overwrite the record of the fetch."""
    server.add(f"/{RECORD}", b"x")
    files = (*archive.files, RemoteFile(RECORD, f"{server.url}/{RECORD}", 1, hashlib.sha256(b"x").hexdigest()))
    with pytest.raises(InvalidInput, match="is the record of the fetch itself"):
        run(replace(archive, files=files), tmp_path)


def test_tables_and_series_of_cbis_ddsm(server: ArchiveServer, tmp_path: Path) -> None:
    """The tables lie next to the folders of the images; the second run fetches nothing but the list of series."""
    archive = replace(find_archive("cbis-ddsm", server.url), bytes=10_000)
    for file in archive.files:
        server.add(f"/{file.name}", file.name.encode())
    serve_series(server, [("Mass-Test_P_1_LEFT_CC", "1.1", f"1.1.{number}", IMAGES) for number in range(5)])
    server.files[series_path("1.1.3")].always = Fault(flip=50)
    summary = run(archive, tmp_path, accept_unhashed=True)
    assert (summary.files, summary.fetched) == (9, 8)
    assert [one["name"] for one in summary.failed] == ["Mass-Test_P_1_LEFT_CC/1.1/1.1.3"]
    assert len(list(tmp_path.rglob("*.dcm"))) == 4 and len(list(tmp_path.glob("*_set.csv"))) == 4
    server.files[series_path("1.1.3")].always = None
    server.requests.clear()
    again = run(archive, tmp_path, accept_unhashed=True)
    assert (again.fetched, again.kept, again.failed) == (1, 8, []) and len(server.requests) == 2
    damaged = next(tmp_path.rglob("00000001.dcm"))
    damaged.write_bytes(b"x")
    assert run(archive, tmp_path, accept_unhashed=True, verify=True).refetched == 1
    assert damaged.read_bytes() == IMAGES[0]


def test_a_list_of_series_that_cannot_be_had(server: ArchiveServer, tmp_path: Path) -> None:
    """Without it nothing is fetched."""
    with pytest.raises(Unavailable, match="the list of cbis-ddsm cannot be had: the server answers 404"):
        run(find_archive("cbis-ddsm", server.url), tmp_path, accept_unhashed=True)


def command(server: ArchiveServer, folder: Path, *options: str) -> list[str]:
    """The command line that fetches what a manifest next to the folder lists."""
    manifest = folder.parent / "manifest.tsv"
    return ["dataset", "fetch", "cbis-ddsm", str(folder), "--from", server.url, "--manifest", str(manifest), *options]


def test_the_command_prints_a_summary_and_its_status(archive: Archive, server: ArchiveServer, tmp_path: Path) -> None:
    """Status 1 if a file failed, 0 once all are there."""
    (tmp_path / "manifest.tsv").write_text(manifest_of(CONTENTS))
    served = server.files.pop("/f0.bin")
    failed = CliRunner().invoke(app, command(server, tmp_path / "data"))
    assert failed.exit_code == 1
    assert json.loads(failed.stdout)["failed"] == [{"name": "f0.bin", "reason": "the server answers 404"}]
    server.files["/f0.bin"] = served
    done = CliRunner().invoke(app, command(server, tmp_path / "data"))
    content = json.loads(done.stdout)
    assert done.exit_code == 0 and (content["fetched"], content["kept"], content["failed"]) == (1, 7, [])
    assert files_of(tmp_path / "data") == CONTENTS


def test_the_record_is_a_manifest(archive: Archive, server: ArchiveServer, tmp_path: Path) -> None:
    """What one lab has fetched, another verifies: the record has the names, sizes and hashes."""
    run(archive, tmp_path / "data")
    lines = [line.split("\t") for line in (tmp_path / "data" / RECORD).read_text().splitlines()]
    relative = "".join("\t".join((*line[:3], line[0])) + "\n" for line in lines)
    assert set(parse_manifest(relative, server.url, "record")) == set(archive.files)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--manifest", "m.tsv"], "--manifest needs --from URL"),
        (["--manifest", "nowhere.tsv", "--from", "http://127.0.0.1:1"], "cannot be read as text"),
        (["--from", "somewhere"], "expected https://HOST/PATH"),
    ],
)
def test_options_that_cannot_work(tmp_path: Path, options: Sequence[str], reason: str) -> None:
    """The error says which, before anything is written."""
    with pytest.raises(InvalidInput, match=reason):
        CliRunner().invoke(
            app, ["dataset", "fetch", "cbis-ddsm", str(tmp_path / "data"), *options], catch_exceptions=False
        )
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_costs_no_byte_twice(server: ArchiveServer, tmp_path: Path) -> None:
    """SIGKILL in the middle of a file: the next process requests the rest only, and finished files not at all."""
    contents = {"small.bin": random.Random(1).randbytes(50_000), "large.bin": random.Random(2).randbytes(3_000_000)}
    server.add("/small.bin", contents["small.bin"])
    server.add("/large.bin", contents["large.bin"], Fault(stall=2_000_000))
    (tmp_path / "manifest.tsv").write_text(manifest_of(contents))
    line = [sys.executable, "-m", "services.cli", *command(server, tmp_path / "data", "--connections", "1")]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        assert server.stalled.wait(60)
        _wait_for_size(tmp_path / "data" / "large.bin.part", 2_000_000, process)
        os.kill(process.pid, signal.SIGKILL)
    assert files_of(tmp_path / "data").keys() == {"small.bin", "large.bin.part", "large.bin.part.json"}
    server.requests.clear()
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
    summary = json.loads(done.stdout)
    assert (summary["fetched"], summary["kept"], summary["resumed"], summary["failed"]) == (1, 1, 1, [])
    assert summary["bytes"] == 1_000_000 == sum(request.sent for request in server.requests)
    assert files_of(tmp_path / "data") == contents


def _wait_for_size(path: Path, size: int, process: "subprocess.Popen[bytes]") -> None:
    """Return when a file has reached a size."""
    while not path.exists() or path.stat().st_size < size:
        assert process.poll() is None


def test_an_interrupted_process_ends_soon_and_resumes(server: ArchiveServer, tmp_path: Path) -> None:
    """SIGTERM while the server sends: the process ends by itself and leaves the part."""
    content = random.Random(3).randbytes(2_000_000)
    server.add("/a.bin", content, Fault(stall=1_000_000))
    (tmp_path / "manifest.tsv").write_text(manifest_of({"a.bin": content}))
    line = [sys.executable, "-m", "services.cli", *command(server, tmp_path / "data", "--silence", "1")]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        assert server.stalled.wait(60)
        _wait_for_size(tmp_path / "data" / "a.bin.part", 1_000_000, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    assert "a.bin.part" in files_of(tmp_path / "data")
    subprocess.run(line, cwd=ROOT, capture_output=True, check=True)
    assert files_of(tmp_path / "data") == {"a.bin": content} and server.requests[-1].sent == 1_000_000


def test_bugs_are_not_hidden(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that no rule covers is raised, not counted as a failed file."""

    def broken(*_: object) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr(fetching, "_is_right", broken)
    run(archive, tmp_path)
    with pytest.raises(TypeError, match="a bug"):
        run(archive, tmp_path)
