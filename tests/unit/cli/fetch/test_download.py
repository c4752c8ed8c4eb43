"""One file from a server that misbehaves: it is exactly right in its place, or not there and the reason is named."""

import hashlib
import random
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from gzip import compress
from pathlib import Path

import pytest

from services.cli.fetch.download import Downloader, Fetched, Refused, Stopped
from services.cli.fetch.manifest import RemoteFile
from services.cli.fetch.retries import Limits, retry_after
from services.cli.fetch.target import Target
from services.common.errors import InvalidInput
from tests.fakes.archive_server import ArchiveServer, Fault

CONTENT = random.Random(1).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
LIMITS = Limits(silence_s=2.0, retries=3, restarts=2, least_progress=1000, first_pause_s=0.001, longest_pause_s=0.01)


@pytest.fixture
def fetch(server: ArchiveServer, tmp_path: Path) -> Iterator[Callable[..., Fetched]]:
    """Downloads `/data/a.bin` to a.bin; `size` and `digest` are right by default."""
    downloader = Downloader(Target(tmp_path), LIMITS)

    def download(size: int | None = len(CONTENT), digest: str = SHA256, **more: int) -> Fetched:
        return downloader.download(RemoteFile("a.bin", f"{server.url}/data/a.bin", size, digest), **more)

    yield download
    downloader.close()


def assert_right(folder: Path) -> None:
    """The file is in its place, and nothing else is there."""
    assert (folder / "a.bin").read_bytes() == CONTENT
    assert [path.name for path in folder.iterdir()] == ["a.bin"]


def ranges(server: ArchiveServer) -> list[str | None]:
    """The ranges that were requested."""
    return [request.range for request in server.requests]


def test_a_file_is_fetched_and_described(server: ArchiveServer, tmp_path: Path, fetch: Callable[..., Fetched]) -> None:
    """A file arrives in one request; its size and hash are returned."""
    server.add("/data/a.bin", CONTENT)
    done = fetch()
    assert_right(tmp_path)
    assert (done.file.size, done.file.digest) == (len(CONTENT), SHA256)
    assert (done.received, done.resumed, done.restarts) == (len(CONTENT), False, 0)
    assert ranges(server) == [None]


def test_a_cut_body_is_continued(server: ArchiveServer, tmp_path: Path, fetch: Callable[..., Fetched]) -> None:
    """Two cuts cost no byte twice: each request is for the rest, if the file is still the same."""
    server.add("/data/a.bin", CONTENT, Fault(cut=100_000), Fault(cut=50_000))
    done = fetch()
    assert_right(tmp_path)
    assert (done.received, done.resumed, done.restarts) == (len(CONTENT), True, 0)
    assert [(one.range, one.if_range) for one in server.requests] == [
        (None, None),
        ("bytes=100000-", '"1"'),
        ("bytes=150000-", '"1"'),
    ]


def test_a_stall_is_continued(server: ArchiveServer, tmp_path: Path, fetch: Callable[..., Fetched]) -> None:
    """A server that stops to send counts as silent after the limit; the rest is requested."""
    server.add("/data/a.bin", CONTENT, Fault(stall=120_000))
    done = fetch()
    assert_right(tmp_path)
    assert server.stalled.is_set() and done.received == len(CONTENT)
    assert ranges(server) == [None, "bytes=120000-"]


def test_corrupt_bytes_are_fetched_again(server: ArchiveServer, tmp_path: Path, fetch: Callable[..., Fetched]) -> None:
    """One wrong byte: the hash differs, and the whole file is fetched again."""
    server.add("/data/a.bin", CONTENT, Fault(flip=77_777))
    done = fetch()
    assert_right(tmp_path)
    assert (done.restarts, done.received, ranges(server)) == (1, 2 * len(CONTENT), [None, None])


def test_corrupt_bytes_in_the_rest_are_found(
    server: ArchiveServer, tmp_path: Path, fetch: Callable[..., Fetched]
) -> None:
    """The hash covers the part of an earlier attempt and the rest."""
    server.add("/data/a.bin", CONTENT, Fault(cut=100_000), Fault(flip=200_000))
    assert fetch().restarts == 1
    assert_right(tmp_path)


def test_a_file_that_is_always_corrupt_is_refused(
    server: ArchiveServer, tmp_path: Path, fetch: Callable[..., Fetched]
) -> None:
    """After the restarts the reason is named, and nothing is left."""
    server.add("/data/a.bin", CONTENT, always=Fault(flip=5))
    with pytest.raises(Refused, match=rf"SHA-256 [0-9a-f]{{64}} of what arrived; expected {SHA256}; abandoned after 3"):
        fetch()
    assert list(tmp_path.iterdir()) == [] and len(server.requests) == 3


def test_md5_is_checked(server: ArchiveServer, tmp_path: Path, fetch: Callable[..., Fetched]) -> None:
    """A hash of 32 digits is an MD5."""
    server.add("/data/a.bin", CONTENT)
    digest = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    assert fetch(digest=digest).file.digest == digest
    with pytest.raises(Refused, match="MD5"):
        fetch(digest="0" * 32)


def test_a_changed_file_is_begun_again(server: ArchiveServer, tmp_path: Path, fetch: Callable[..., Fetched]) -> None:
    """The ETag changes between attempts: the server answers with the whole new file, and no byte of the old is used."""
    server.add("/data/a.bin", CONTENT[::-1], Fault(cut=100_000, then=(CONTENT, '"2"')))
    done = fetch()
    assert_right(tmp_path)
    assert (done.received, done.resumed) == (100_000 + len(CONTENT), False)
    assert server.requests[1].if_range == '"1"'


def test_the_rest_of_another_version_is_not_used(
    server: ArchiveServer, tmp_path: Path, fetch: Callable[..., Fetched]
) -> None:
    """A server that ignores If-Range sends the rest of a file with another ETag. Even without a known hash, that is
    noticed."""
    changed = Fault(cut=100_000, then=(CONTENT, '"2"'))
    server.add("/data/a.bin", CONTENT[::-1], changed, Fault(ignore_if_range=True))
    assert fetch(digest="").restarts == 1
    assert_right(tmp_path)


def test_the_date_of_the_last_change_stands_in_for_an_etag(
    server: ArchiveServer, tmp_path: Path, fetch: Callable[..., Fetched]
) -> None:
    """A file without an ETag is continued if it has not changed since its date."""
    date = "Mon, 01 Jan 2024 00:00:00 GMT"
    server.add("/data/a.bin", CONTENT, Fault(cut=100_000), etag="", modified=date)
    assert fetch(digest="").resumed
    assert_right(tmp_path)
    assert server.requests[1].if_range == date


@pytest.mark.parametrize("fault", [Fault(ignore_range=True), Fault(shift=10), Fault(status=416), Fault(status=206)])
def test_a_server_without_usable_ranges_sends_the_whole_file(
    server: ArchiveServer, tmp_path: Path, fetch: Callable[..., Fetched], fault: Fault
) -> None:
    """An answer with the whole file, with another range or without one: the file is begun again and right."""
    server.add("/data/a.bin", CONTENT, Fault(cut=100_000), fault)
    fetch()
    assert_right(tmp_path)


def test_a_server_that_always_cuts_the_whole_file_is_refused(
    server: ArchiveServer, tmp_path: Path, fetch: Callable[..., Fetched]
) -> None:
    """Without ranges, an attempt that gets no further than earlier ones is no progress, so the attempts end."""
    server.add("/data/a.bin", CONTENT, always=Fault(cut=100_000, ignore_range=True))
    with pytest.raises(Refused, match=r"the connection broke: .*; abandoned after 4 attempts"):
        fetch()
    assert not (tmp_path / "a.bin").exists() and len(server.requests) == 4


def test_small_progress_is_no_progress(server: ArchiveServer, tmp_path: Path, fetch: Callable[..., Fetched]) -> None:
    """A server that sends a few bytes on each connection is abandoned; one that sends more is not."""
    server.add("/data/a.bin", CONTENT, always=Fault(cut=100))
    with pytest.raises(Refused, match="abandoned after 4 attempts"):
        fetch()
    server.requests.clear()
    server.add("/data/a.bin", CONTENT, always=Fault(cut=10_000))
    fetch()
    assert_right(tmp_path)
    assert len(server.requests) == 30


@pytest.mark.parametrize("status", [503, 429, 500])
def test_a_busy_server_is_tried_again(
    server: ArchiveServer,
    tmp_path: Path,
    fetch: Callable[..., Fetched],
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    """The pause is as long as Retry-After says, but no longer than the longest."""
    pauses: list[float] = []
    monkeypatch.setattr(threading.Event, "wait", _recording(pauses, threading.Event.wait))
    busy = [Fault(status=status, headers={"Retry-After": text}) for text in ("0.0", "0", "3600")]
    server.add("/data/a.bin", CONTENT, *busy)
    fetch()
    assert_right(tmp_path)
    assert len(server.requests) == 4 and pauses[-1] == LIMITS.longest_pause_s


def _recording(pauses: list[float], real: Callable[..., bool]) -> Callable[..., bool]:
    def wait(event: threading.Event, timeout: float | None = None) -> bool:
        if timeout is not None:
            pauses.append(timeout)
        return real(event, timeout)

    return wait


def test_a_server_that_stays_busy_is_abandoned(
    server: ArchiveServer, tmp_path: Path, fetch: Callable[..., Fetched]
) -> None:
    """The reason names the status and the attempts."""
    server.add("/data/a.bin", CONTENT, always=Fault(status=503))
    with pytest.raises(Refused, match="the server answers 503; abandoned after 4 attempts"):
        fetch()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_refusal_is_final(server: ArchiveServer, tmp_path: Path, fetch: Callable[..., Fetched], status: int) -> None:
    """A file that is not there is requested once."""
    server.add("/data/a.bin", CONTENT, always=Fault(status=status))
    with pytest.raises(Refused, match=f"the server answers {status}"):
        fetch()
    assert len(server.requests) == 1 and list(tmp_path.iterdir()) == []


def test_a_server_that_is_away_is_abandoned(tmp_path: Path) -> None:
    """Nothing accepts the connection."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/a.bin"
    downloader = Downloader(Target(tmp_path), LIMITS)
    with pytest.raises(Refused, match=r"the connection broke: .*; abandoned after 4 attempts"):
        downloader.download(RemoteFile("a.bin", url, 10, SHA256))
    downloader.close()


def test_more_bytes_than_the_manifest_states(
    server: ArchiveServer, tmp_path: Path, fetch: Callable[..., Fetched]
) -> None:
    """A body without a stated size that is too long is cut off, and begun again."""
    server.add("/data/a.bin", CONTENT, Fault(extra=1))
    assert fetch().restarts == 1
    assert_right(tmp_path)
    server.add("/data/a.bin", CONTENT, always=Fault(extra=10_000_000))
    with pytest.raises(Refused, match="the server sends more than 300000 bytes; abandoned after 3"):
        fetch()
    assert all(request.sent < 10_000_000 for request in server.requests[-3:])
    assert_right(tmp_path)


def test_another_size_than_the_manifest_states(
    server: ArchiveServer, tmp_path: Path, fetch: Callable[..., Fetched]
) -> None:
    """The server states its size: no byte is read."""
    server.add("/data/a.bin", CONTENT + b"more")
    with pytest.raises(Refused, match="the server has 300004 bytes; expected 300000"):
        fetch()
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_unknown_size_has_a_largest_size(
    server: ArchiveServer, tmp_path: Path, fetch: Callable[..., Fetched]
) -> None:
    """Both if the server states its size and if it just sends."""
    server.add("/data/a.bin", CONTENT)
    with pytest.raises(Refused, match="the file has 300000 bytes; at most 1000 are fetched"):
        fetch(size=None, largest=1000)
    server.add("/data/a.bin", CONTENT, always=Fault(extra=1))
    with pytest.raises(Refused, match="sends more than 1000 bytes"):
        fetch(size=None, largest=1000)
    assert list(tmp_path.iterdir()) == []


def test_a_page_is_not_the_file(server: ArchiveServer, tmp_path: Path, fetch: Callable[..., Fetched]) -> None:
    """A share that has ended answers with a page: it is not stored as the file."""
    server.add("/data/a.bin", CONTENT, always=Fault(page=True))
    with pytest.raises(Refused, match="a page in HTML; expected a file"):
        fetch(size=None, digest="")
    assert list(tmp_path.iterdir()) == []


def test_redirects_within_a_scheme_are_followed(
    server: ArchiveServer, tmp_path: Path, fetch: Callable[..., Fetched]
) -> None:
    """A relative redirect and an absolute one lead to the file; a cut is continued there."""
    server.add("/data/a.bin", b"", always=Fault(status=302, headers={"Location": "/other"}))
    server.add("/other", b"", always=Fault(status=307, headers={"Location": f"{server.url}/third"}))
    server.add("/third", CONTENT, Fault(cut=100_000))
    assert fetch().resumed
    assert_right(tmp_path)
    assert server.requests[-1].range == "bytes=100000-"


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("https://127.0.0.1:1/a", "redirects from http to https, which is not followed"),
        ("file:///etc/passwd", "redirects from http to file"),
        ("ftp://127.0.0.1/a", "redirects from http to ftp"),
        ("/data/a.bin", "redirects more than 5 times"),
    ],
)
def test_other_redirects_are_refused(
    server: ArchiveServer, tmp_path: Path, fetch: Callable[..., Fetched], location: str, reason: str
) -> None:
    """No redirect leads to another scheme, or around in a circle."""
    server.add("/data/a.bin", b"", always=Fault(status=302, headers={"Location": location}))
    with pytest.raises(Refused, match=reason):
        fetch()
    assert list(tmp_path.iterdir()) == []


def test_a_part_without_validator_or_hash_is_not_continued(
    server: ArchiveServer, tmp_path: Path, fetch: Callable[..., Fetched]
) -> None:
    """Nothing would notice that the rest is of another version. With a hash, the part is continued."""
    server.add("/data/a.bin", CONTENT, Fault(cut=100_000), etag="")
    fetch(digest="")
    assert_right(tmp_path)
    assert ranges(server) == [None, None]
    server.requests.clear()
    server.add("/data/a.bin", CONTENT, Fault(cut=100_000), etag='W/"1"')
    fetch()
    assert [(one.range, one.if_range) for one in server.requests] == [(None, None), ("bytes=100000-", None)]


def test_a_damaged_gzip_without_hash_is_found(server: ArchiveServer, tmp_path: Path) -> None:
    """Without a published hash, the checksums inside of a gzip file find what is corrupt or missing."""
    packed = compress(CONTENT)
    server.add("/a.tar.gz", packed, Fault(flip=50_000), Fault(flip=len(packed) - 6))
    downloader = Downloader(Target(tmp_path), LIMITS)
    done = downloader.download(RemoteFile("a.tar.gz", f"{server.url}/a.tar.gz"))
    assert done.restarts == 2 and (tmp_path / "a.tar.gz").read_bytes() == packed
    server.add("/a.tar.gz", packed[:-100])
    with pytest.raises(Refused, match="not a complete gzip file"):
        downloader.download(RemoteFile("b.tar.gz", f"{server.url}/a.tar.gz"))
    downloader.close()
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


def test_a_stop_keeps_what_has_arrived(server: ArchiveServer, tmp_path: Path) -> None:
    """A download that is stopped in a pause leaves its part, which the next one continues."""
    stop = threading.Event()
    limits = Limits(retries=3, first_pause_s=60, longest_pause_s=60)
    downloader = Downloader(Target(tmp_path), limits, lambda _: stop.set(), stop)
    file = RemoteFile("a.bin", f"{server.url}/data/a.bin", len(CONTENT), SHA256)
    server.add("/data/a.bin", CONTENT, Fault(cut=100_000))
    with pytest.raises(Stopped):
        downloader.download(file)
    downloader.close()
    assert 0 < (tmp_path / "a.bin.part").stat().st_size < len(CONTENT) and not (tmp_path / "a.bin").exists()
    downloader = Downloader(Target(tmp_path), LIMITS)
    done = downloader.download(file)
    downloader.close()
    assert done.resumed and done.received < len(CONTENT)
    assert_right(tmp_path)


@pytest.mark.parametrize(
    "name", ["../a", "/etc/a", "a/../../b", "a//b", "", ".", "a/.", ".ssh/a", "a\\b", "a\nb", "a.part"]
)
def test_names_lead_nowhere_else(tmp_path: Path, server: ArchiveServer, name: str) -> None:
    """A name that could be a path outside of the folder, or a file of the command itself, is refused unread."""
    downloader = Downloader(Target(tmp_path / "folder"), LIMITS)
    with pytest.raises(InvalidInput):
        downloader.download(RemoteFile(name, f"{server.url}/x", 10, SHA256))
    downloader.close()
    assert server.requests == [] and [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_links_lead_nowhere_else(tmp_path: Path, server: ArchiveServer) -> None:
    """A link in the target folder is not followed: not a folder's, not a file's, not an unfinished file's."""
    (tmp_path / "outside").mkdir()
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "outside")
    (folder / "b").symlink_to(tmp_path / "outside" / "b")
    (folder / "c.part").symlink_to(tmp_path / "outside" / "c")
    server.add("/a", CONTENT)
    downloader = Downloader(Target(folder), LIMITS)
    for name in ("link/a", "b"):
        with pytest.raises(InvalidInput, match="link"):
            downloader.download(RemoteFile(name, f"{server.url}/a", len(CONTENT), SHA256))
    downloader.download(RemoteFile("c", f"{server.url}/a", len(CONTENT), SHA256))
    downloader.close()
    assert list((tmp_path / "outside").iterdir()) == []
    assert (folder / "c").read_bytes() == CONTENT and not (folder / "c").is_symlink()


def test_pauses_double_with_jitter_up_to_the_longest() -> None:
    """The n-th pause is between half of and all of 2^(n-1) first pauses, at least what the server requested."""
    limits = Limits(first_pause_s=1.0, longest_pause_s=20.0)
    for failures, longest in ((1, 1.0), (2, 2.0), (4, 8.0), (9, 20.0), (1000, 20.0)):
        drawn = {limits.pause(failures, None) for _ in range(50)}
        assert longest / 2 <= min(drawn) < max(drawn) <= longest
    assert limits.pause(1, 7.0) == 7.0 and limits.pause(1, 700.0) == 20.0


def test_retry_after_is_seconds_or_a_date() -> None:
    """Other text counts as missing."""
    assert retry_after("12") == 12.0 and retry_after("9" * 50) == 999_999_999.0
    soon = retry_after(format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True))
    assert soon is not None and 85 < soon <= 90
    assert retry_after("Mon, 01 Jan 2001 00:00:00 GMT") == 0.0
    assert [retry_after(text) for text in (None, "", "soon", "-3", "1e9")] == [None] * 5
