"""Searches of a DICOMweb server, also of one that does not keep to the standard."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from services.common.errors import InvalidInput
from services.training.raw.source.dicomweb.client import CUT, DicomwebClient, Refused
from services.training.raw.source.dicomweb.search import BAD_UID, PAGE, Selection, is_uid, read_list, search
from services.training.raw.source.dicomweb.servers import DicomwebServer

Answer = Callable[[str, int, int], Any]
"""Makes the results of a search from its path, offset and limit, or None for no content."""


class Listing(DicomwebClient):
    """A client whose server gives what a function makes."""

    def __init__(self, answer: Answer) -> None:
        super().__init__("lab", DicomwebServer(url="http://127.0.0.1:1"))
        self.answer = answer
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def get(self, path: str, accept: str, receive: Any, query: Any = None) -> Any:
        self.calls.append((path, dict(query)))
        found = self.answer(path, query["offset"], query["limit"])
        content = found if isinstance(found, bytes) else json.dumps(found).encode()
        return None if found is None else receive({}, iter([content]))


def result(tag: str, uid: Any, modality: str = "MG") -> dict[str, Any]:
    """A result of a search."""
    return {tag: {"vr": "UI", "Value": [uid]}, "00080060": {"vr": "CS", "Value": [modality]}}


def pacs(path: str) -> list[dict[str, Any]]:
    """All results of a search in a PACS of 250 studies with one instance each."""
    if path == "studies":
        return [result("0020000D", f"1.2.{number}") for number in range(250)]
    study = path.split("/")[1].rpartition(".")[2]
    if path.endswith("/series"):
        return [result("0020000E", f"1.3.{study}"), result("0020000E", f"1.4.{study}", "SR")]
    return [result("00080018", f"1.5.{study}")]


def others_first(path: str, offset: int, _limit: int) -> list[dict[str, Any]]:
    """Pages of one series, first those of another modality, whatever is searched for."""
    results = pacs(path)
    return list(reversed(results))[offset : offset + 1] if path.endswith("/series") else results[offset:]


EXPECTED = {f"1.2.{number}/1.3.{number}/1.5.{number}.dcm" for number in range(250)}


@pytest.mark.parametrize(
    "answer",
    [
        lambda path, offset, limit: pacs(path)[offset : offset + limit],
        lambda path, offset, limit: pacs(path)[offset : offset + limit] or None,
        lambda path, offset, limit: pacs(path)[offset : offset + min(limit, 7)],
        lambda path, _offset, _limit: pacs(path),
        others_first,
    ],
    ids=["pages", "no content after the last page", "short pages", "ignores offset and limit", "ignores the modality"],
)
def test_all_pages_are_read(answer: Answer) -> None:
    """Whether the last page is followed by an empty one, by no content, or by the same one; and no other modality."""
    client = Listing(answer)
    found = search(client, Selection(), None)
    assert found.names == EXPECTED
    assert found.report.counts == {"studies listed by the server": 250, "instances listed by the server": 250}
    assert client.calls[0] == ("studies", {"ModalitiesInStudy": "MG", "limit": PAGE, "offset": 0})


@pytest.mark.parametrize("uid", ["../../1.2", "1.2/../3", "1.2?x", "", "1" * 64 + ".1", 12, None, [], "1..2", "1.2\n"])
def test_uids_that_are_none_are_reported(uid: Any) -> None:
    """They become no part of an address."""
    assert not is_uid(uid)
    client = Listing(lambda path, offset, _: [result("0020000D", uid)] if path == "studies" and not offset else [])
    assert search(client, Selection(), None).report.dropped[BAD_UID].examples == ["studies"]
    assert {path for path, _ in client.calls} == {"studies"}


@pytest.mark.parametrize("content", [b"{}", b"null", b"<html>", b"\xff", b"[" * 100_000, b'"studies"', b"1e999", b"[1"])
def test_answers_that_are_no_results_are_refused(content: bytes) -> None:
    """The message names the server."""
    with pytest.raises(InvalidInput, match="DICOMweb server lab answers a search with something else"):
        search(Listing(lambda *_: content), Selection(), None)


@pytest.mark.parametrize("element", [1, None, [], {}, {"0020000D": 1}, {"0020000D": {"Value": []}}])
def test_results_without_uid_are_reported(element: Any) -> None:
    """They do not end the search."""
    client = Listing(lambda path, offset, _: [element, result("0020000D", "1.2")][offset:] if path == "studies" else [])
    report = search(client, Selection(), None).report
    assert (report.dropped[BAD_UID].count, report.counts["studies listed by the server"]) == (1, 1)


def test_lists_of_studies() -> None:
    """UIDs and accession numbers with their places; blank lines and comments are left out."""
    content = b"\xef\xbb\xbf# of May\n1.2.840.1\r\n\n  ACC-7 \n"
    assert [(one.query, one.where) for one in read_list(content, "s.txt")] == [
        ({"StudyInstanceUID": "1.2.840.1"}, "s.txt:2"),
        ({"AccessionNumber": "ACC-7"}, "s.txt:4"),
    ]
    with pytest.raises(InvalidInput, match=r"s.txt: byte 1 is not utf-8"):
        read_list(b"a\xff", "s.txt")


def test_reasons_of_refusals_are_for_reports() -> None:
    """The same for all files with the fault; the message also names the server."""
    assert (Refused("lab", CUT).reason, str(Refused("lab", CUT))) == (CUT, f"DICOMweb server lab: {CUT}")
