"""The images of a collection, from a server that speaks version 1 of NBIA's REST API."""

import csv
import hashlib
import io
import json
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.cli.fetch.download import Downloader, Fetched, Refused
from services.cli.fetch.nbia import Series, fetch_series, is_whole, list_series
from services.cli.fetch.retries import Limits
from services.cli.fetch.target import Target
from services.cli.fetch.unpack import LARGEST_IMAGE
from services.common.errors import InvalidInput
from services.training.raw.layouts import layout_named
from services.training.raw.report import ImportReport
from services.training.raw.source.files import FolderFiles
from tests.fakes.archive_server import ArchiveServer, Fault, series_path, series_zip, serve_series, zip_of
from tests.fakes.raw.cbis_ddsm import HEIGHT, WIDTH, write_cbis_ddsm

IMAGES = [b"DICM one" * 5000, b"DICM two" * 7000]
PATIENT, STUDY, UID = "Mass-Training_P_00001_LEFT_CC", "1.3.6.1", "1.3.6.1.2"
NAME = f"{PATIENT}/{STUDY}/{UID}"
LIMITS = Limits(silence_s=2.0, retries=2, restarts=2, first_pause_s=0.001, longest_pause_s=0.01)
LIST = "/getSeries?Collection=CBIS-DDSM&format=json"
"""The path of the list of series."""


@pytest.fixture
def downloader(tmp_path: Path) -> Iterator[Downloader]:
    """Downloads into the folder `data`."""
    one = Downloader(Target(tmp_path / "data"), LIMITS)
    yield one
    one.close()


@pytest.fixture
def fetch(server: ArchiveServer, downloader: Downloader) -> Callable[[], Fetched]:
    """Fetches the series of two images."""
    return lambda: fetch_series(downloader, Series(NAME, f"{server.url}{series_path(UID)}", len(IMAGES)))


def assert_nothing_left(folder: Path) -> None:
    """Neither the series nor anything unfinished is there."""
    assert [path for path in folder.rglob("*") if path.is_file()] == [] and not (folder / NAME).exists()


def test_series_are_listed_by_name(server: ArchiveServer, downloader: Downloader) -> None:
    """The folder of a series has the names of patient, study and series."""
    serve_series(server, [("P2", "1.2", "1.2.4", IMAGES), (PATIENT, STUDY, UID, IMAGES[:1])])
    assert list_series(downloader, server.url, "CBIS-DDSM") == (
        Series(NAME, f"{server.url}{series_path(UID)}", 1),
        Series("P2/1.2/1.2.4", f"{server.url}{series_path('1.2.4')}", 2),
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "lists no series"),
        (b"[]", "lists no series"),
        (b"{}", "lists no series"),
        (b"<html>", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[1]", "series 1 of the list has no usable"),
    ],
)
def test_other_answers_are_no_list(server: ArchiveServer, downloader: Downloader, content: bytes, reason: str) -> None:
    """NBIA answers with an empty body if it knows no such collection."""
    server.add(LIST, content)
    with pytest.raises(InvalidInput, match=reason):
        list_series(downloader, server.url, "CBIS-DDSM")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("PatientID", "../../etc"),
        ("PatientID", ""),
        ("StudyInstanceUID", ".."),
        ("StudyInstanceUID", "1/2"),
        ("SeriesInstanceUID", "1&x=2"),
        ("SeriesInstanceUID", "1" * 65),
        ("ImageCount", 0),
        ("ImageCount", 10**9),
        ("ImageCount", "many"),
        ("ImageCount", None),
    ],
)
def test_rows_that_could_lead_elsewhere_are_refused(
    server: ArchiveServer, downloader: Downloader, column: str, value: object
) -> None:
    """Nothing of a list becomes part of a path or address unless it is a plain name or UID."""
    row = {"PatientID": PATIENT, "StudyInstanceUID": STUDY, "SeriesInstanceUID": UID, "ImageCount": 2, column: value}
    server.add(LIST, json.dumps([row]).encode())
    with pytest.raises(InvalidInput, match="series 1 of the list"):
        list_series(downloader, server.url, "CBIS-DDSM")


def test_a_series_is_unpacked_and_verified(
    server: ArchiveServer, tmp_path: Path, downloader: Downloader, fetch: Callable[[], Fetched]
) -> None:
    """The images and the list of their hashes are in the folder of the series, and nothing else."""
    server.add(series_path(UID), series_zip(IMAGES), etag="")
    done = fetch()
    folder = tmp_path / "data" / NAME
    assert {path.name for path in folder.iterdir()} == {"00000001.dcm", "00000002.dcm", "md5hashes.csv"}
    assert [(folder / f"0000000{n}.dcm").read_bytes() for n in (1, 2)] == IMAGES
    assert done.file.size == sum(map(len, IMAGES)) and not done.restarts
    assert [path.name for path in folder.parent.iterdir()] == [UID]
    series = Series(NAME, "", len(IMAGES))
    assert is_whole(downloader, series, verify=True)
    (folder / "00000002.dcm").write_bytes(IMAGES[1][:-1] + b"x")
    assert is_whole(downloader, series, verify=False) and not is_whole(downloader, series, verify=True)
    assert fetch().restarts == 0 and is_whole(downloader, series, verify=True)


def test_a_cut_series_is_fetched_whole(server: ArchiveServer, tmp_path: Path, fetch: Callable[[], Fetched]) -> None:
    """NBIA makes the ZIP as it sends it, so a cut one cannot be continued."""
    server.add(series_path(UID), series_zip(IMAGES), Fault(cut=100), Fault(stall=200), etag="")
    done = fetch()
    assert not done.resumed and [request.range for request in server.requests] == [None] * 3
    assert (tmp_path / "data" / NAME / "00000001.dcm").read_bytes() == IMAGES[0]


def test_a_corrupt_series_is_fetched_again(server: ArchiveServer, tmp_path: Path, fetch: Callable[[], Fetched]) -> None:
    """One wrong byte in the ZIP."""
    server.add(series_path(UID), series_zip(IMAGES), Fault(flip=60), etag="")
    assert fetch().restarts == 1
    assert (tmp_path / "data" / NAME / "00000001.dcm").read_bytes() == IMAGES[0]


def _hashes(names: dict[str, bytes]) -> bytes:
    table = io.StringIO()
    rows = [(name, hashlib.md5(content, usedforsecurity=False).hexdigest()) for name, content in names.items()]
    csv.writer(table).writerows([("Filename", "MD5Hash"), *rows])
    return table.getvalue().encode()


def _bomb() -> bytes:
    """A ZIP whose image claims to unpack to more than is read."""
    packed = bytearray(series_zip(IMAGES))
    place = packed.index(b"PK\x01\x02") + 24
    packed[place : place + 4] = struct.pack("<I", LARGEST_IMAGE + 1)
    return bytes(packed)


def _liar() -> bytes:
    """A ZIP whose image claims to be smaller than it is."""
    packed = bytearray(series_zip(IMAGES))
    place = packed.index(b"PK\x01\x02") + 24
    packed[place : place + 4] = struct.pack("<I", 10)
    return bytes(packed)


TWO = {"00000001.dcm": IMAGES[0], "00000002.dcm": IMAGES[1]}


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        (b"no ZIP", "the ZIP of the series is damaged"),
        (zip_of(TWO), "has no md5hashes.csv: the server did not send all of it"),
        (zip_of(TWO | {"md5hashes.csv": b"\xff\xfe"}), "has 2 images; md5hashes.csv names 0"),
        (zip_of(TWO | {"md5hashes.csv": b"Filename,MD5Hash\n00000001.dcm,none\n"}), "row 1 of md5hashes.csv"),
        (series_zip(IMAGES[:1]), "has 1 images; the archive states 2"),
        (series_zip(IMAGES, {"00000001.dcm": "0" * 32, "00000002.dcm": "1" * 32}), "has MD5 [0-9a-f]{32}; expected 0"),
        (zip_of({"../../x.dcm": b"x", "a.dcm": b"y", "md5hashes.csv": _hashes({"../../x.dcm": b"x"})}), "row 1 of"),
        (zip_of(TWO | {"/x.dcm": b"x", "md5hashes.csv": _hashes(TWO)}), "has 3 images; md5hashes.csv names 2"),
        (zip_of(TWO | {"md5hashes.csv": _hashes(TWO)}, zipfile.ZIP_LZMA), "is compressed by method 14"),
        (_bomb(), f"unpacks to {LARGEST_IMAGE + 1} bytes; at most {LARGEST_IMAGE} are read"),
        (_liar(), "damaged|has MD5"),
    ],
)  # fmt: skip
def test_bad_series_are_refused(
    server: ArchiveServer, tmp_path: Path, fetch: Callable[[], Fetched], packed: bytes, reason: str
) -> None:
    """The reason is named, and nothing is left, inside of the target folder or elsewhere."""
    server.add(series_path(UID), packed, etag="")
    with pytest.raises(Refused, match=f"{reason}.*; abandoned after 3 attempts"):
        fetch()
    assert_nothing_left(tmp_path / "data")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_members_without_an_image_are_not_unpacked(
    server: ArchiveServer, tmp_path: Path, fetch: Callable[[], Fetched]
) -> None:
    """A licence in the ZIP, or a path that leads elsewhere, is left out."""
    server.add(series_path(UID), zip_of(TWO | {"LICENSE": b"x", "../../../x": b"x", "md5hashes.csv": _hashes(TWO)}))
    fetch()
    assert {path.name for path in (tmp_path / "data" / NAME).iterdir()} == {*TWO, "md5hashes.csv"}
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_series_has_a_largest_size(
    server: ArchiveServer, tmp_path: Path, fetch: Callable[[], Fetched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ZIP that does not end is cut off."""
    monkeypatch.setattr("services.cli.fetch.nbia.LARGEST_IMAGE", 1000)
    server.add(series_path(UID), series_zip(IMAGES), always=Fault(extra=1_000_000), etag="")
    with pytest.raises(Refused, match="sends more than 2000 bytes"):
        fetch()
    assert_nothing_left(tmp_path / "data")


def test_what_was_fetched_is_read_as_cbis_ddsm(server: ArchiveServer, tmp_path: Path, downloader: Downloader) -> None:
    """A CBIS-DDSM that is served by series, and fetched, has the images, labels and outlines of the one on the disk."""
    original, copy = tmp_path / "original", tmp_path / "data"
    original.mkdir()
    write_cbis_ddsm(original)
    shutil.rmtree(original / "more")  # files that no folder names; NBIA sorts all by patient
    folders = sorted({file.parent for file in original.rglob("*.dcm")})
    rows = [
        (folder.relative_to(original / "CBIS-DDSM").parts[0], "1.2", f"1.2.{number}", _contents(folder))
        for number, folder in enumerate(folders)
    ]
    serve_series(server, rows)
    for series in list_series(downloader, server.url, "CBIS-DDSM"):
        fetch_series(downloader, series)
    for table in original.glob("*.csv"):
        shutil.copy(table, copy)
    described = _described(copy)
    assert described == _described(original)
    assert sum(len(outlines) for *_, outlines in described) == 7


def _contents(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted(folder.glob("*.dcm"))]


def _described(root: Path) -> list[tuple[object, ...]]:
    """The images of a source with their labels, and the outlines of their findings."""
    files, report, layout = FolderFiles(root), ImportReport(), layout_named("cbis-ddsm")
    return [
        (
            one.name,
            one.split,
            one.label,
            one.all_marked,
            tuple(
                outline
                for finding in one.findings
                for outline in layout.outlines(files, one, finding, HEIGHT, WIDTH, report)
            ),
        )
        for one in layout.scan(files, report)
    ]
