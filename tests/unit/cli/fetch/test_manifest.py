"""Manifests: what a line means, and what is refused."""

from pathlib import Path

import pytest

from services.cli.fetch.archives import ARCHIVES, check_base, find_archive
from services.cli.fetch.manifest import RemoteFile, check_name, parse_manifest, read_records
from services.common.errors import InvalidInput

SHA256, MD5 = "ab" * 32, "cd" * 16


def test_a_manifest_lists_files_below_an_address() -> None:
    """Sizes and hashes may be unknown; a hash of 32 digits is an MD5; comments and empty lines are left out."""
    text = f"# a comment\n\na.tar\t10\t{SHA256.upper()}\tx/a.tar?dl=1\nb/c.csv\t-\t{MD5}\tc.csv\r\nd\t-\t-\td\n"
    assert parse_manifest(text, "http://host/base/", "list") == (
        RemoteFile("a.tar", "http://host/base/x/a.tar?dl=1", 10, SHA256),
        RemoteFile("b/c.csv", "http://host/base/c.csv", None, MD5),
        RemoteFile("d", "http://host/base/d"),
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a\t10\t-", "list, line 1 has 3 columns; expected name, size, hash and URL"),
        ("a\tten\t-\ta", "size 'ten'; expected bytes"),
        ("a\t-1\t-\ta", "size '-1'"),
        (f"a\t{'9' * 19}\t-\ta", "size"),
        ("a\t10\tabc\ta", "hash 'abc'; expected a SHA-256 or MD5"),
        ("../a\t10\t-\ta", "'../a' cannot be the name of a file in the target folder"),
        ("/a\t10\t-\ta", "cannot be the name"),
        (f"{'a' * 201}\t10\t-\ta", "cannot be the name"),
        ("a.part.json\t10\t-\ta", "ends as unfinished files do"),
        ("a\t10\t-\thttp://other/a", "expected one relative to the address"),
        ("a\t10\t-\t//other/a", "expected one relative"),
        ("a\t10\t-\t/a", "expected one relative"),
        ("a\t10\t-\tb/../../a", "expected one relative"),
        ("a\t10\t-\t", "URL ''"),
        ("a\t1\t-\ta\na\t1\t-\tb", "line 2: 'a' is in the manifest twice"),
        ("# nothing", "list names no files"),
    ],
)
def test_faults_of_manifests_are_named(line: str, reason: str) -> None:
    """The error names the line, what was found, and what was expected."""
    with pytest.raises(InvalidInput) as error:
        parse_manifest(line, "http://host", "list")
    assert reason in str(error.value)


def test_records_survive_a_killed_writer() -> None:
    """A line that was cut is left out, and the last record of a file counts."""
    first, second = RemoteFile("a", "http://h/a", 1, SHA256), RemoteFile("a", "http://h/a", 2, SHA256)
    lines = [first.line(), second.line(), RemoteFile("b", "http://h/b", 3, MD5).line().rstrip("\n"), "c\t4\n"]
    assert read_records(lines) == {"a": second}


def test_the_table_of_archives_is_usable() -> None:
    """Every file of every archive has a name for the target folder and an address of HTTPS, and each has a size."""
    for archive in ARCHIVES.values():
        assert archive.bytes > 0 and all(check_name(file.name) for file in archive.files)
        addresses = [file.url for file in archive.files] + [archive.api] * bool(archive.collection)
        assert addresses and all(check_base(url.partition("?")[0]).startswith("https://") for url in addresses)


def test_another_address_serves_the_same_names() -> None:
    """`--from` replaces all addresses of an archive."""
    archive = find_archive("cbis-ddsm", "http://mirror:8080/cbis/")
    assert archive.api == "http://mirror:8080/cbis"
    assert {file.url for file in archive.files} == {f"http://mirror:8080/cbis/{file.name}" for file in archive.files}


@pytest.mark.parametrize(
    "base", ["mirror", "file:///data", "ftp://host/x", "http://", "http://host/?a=b", "http://h/#x"]
)
def test_other_addresses_are_refused(base: str) -> None:
    """Only an address of HTTP can be a server of archives."""
    with pytest.raises(InvalidInput, match="expected https://HOST/PATH"):
        find_archive("cbis-ddsm", base)


def test_unknown_archives_are_refused() -> None:
    """The error lists those that there are."""
    with pytest.raises(InvalidInput, match="archive 'inbreast'; expected one of ddsm-visual-primitives, cbis-ddsm"):
        find_archive("inbreast")


def test_no_other_file_names_an_archive() -> None:
    """The addresses of archives stand in one table."""
    root = Path(__file__).parents[4] / "services"
    hosts = ("cancerimagingarchive", "dropbox", "csail")
    named = {path.name for path in root.rglob("*.py") if any(host in path.read_text() for host in hosts)}
    assert named == {"archives.py"}
