"""Retrieval from a PACS whose front wants credentials, or fails: a real Orthanc is behind it."""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deploy.local.servers import Server, free_port
from services.common.blobs import open_blobs
from services.common.errors import Forbidden
from services.training.raw.cutting.recipe import CutRecipe
from services.training.raw.importing import assemble, cut_part, plan_import
from services.training.raw.plan import Source
from services.training.raw.report import ImportReport
from services.training.raw.source.delivery import Undelivered
from services.training.raw.source.dicomweb import client as client_module
from services.training.raw.source.dicomweb.client import CUT, ENCODED, TOO_SLOW, WAITS_S, DicomwebClient, ServerAway
from services.training.raw.source.dicomweb.files import BAD_ANSWER, OTHER_INSTANCE, DicomwebFiles
from services.training.raw.source.dicomweb.search import Selection, search
from services.training.raw.source.dicomweb.servers import DicomwebServer
from services.training.raw.source.dicomweb.source import DicomwebSource
from tests.fakes.certificates import Authority
from tests.fakes.dicomweb_front import CLIENT_ID, SECRET, Front, running_front
from tests.fakes.raw.pacs import store_pacs

FIRST = "1.8.1/1.7.11/1.9.11.dcm"
SOP = "1.9.11"


@dataclass
class Reading:
    """A client of a front, with the waits of its retries and a clock that the test sets."""

    url: str
    settings: dict[str, Any] = field(default_factory=dict)
    waits: list[float] = field(default_factory=list)
    now: float = 0.0

    def __post_init__(self) -> None:
        server = DicomwebServer(url=self.url, **self.settings)
        self.client = DicomwebClient("lab", server, pause=self.waits.append, clock=lambda: self.now)

    def files(self, *names: str) -> DicomwebFiles:
        """Some instances as files."""
        return DicomwebFiles(self.client, names or (FIRST,), None, ImportReport())


@pytest.fixture(scope="module")
def root(orthanc: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The root of DICOMweb of an Orthanc with the files of a small PACS."""
    with store_pacs(orthanc.url, tmp_path_factory.mktemp("pacs")):
        yield f"{orthanc.url}/dicom-web"


@pytest.fixture
def front(root: str) -> Iterator[Front]:
    """A front without TLS and tokens."""
    with running_front(root) as running:
        yield running


@pytest.fixture
def reading(front: Front) -> Iterator[Reading]:
    made = Reading(front.root)
    yield made
    made.client.close()


def oauth(front: Front, folder: Path, secret: str = SECRET) -> dict[str, Any]:
    """The settings of a client of the front's token endpoint."""
    file = folder / "secret"
    file.write_text(f"{secret}\n")
    return {"token_url": f"{front.root}/token", "client_id": CLIENT_ID, "client_secret_file": file, "scope": "read"}


@pytest.mark.parametrize(
    ("fault", "reason", "repeated"),
    [
        ("other", OTHER_INSTANCE, False),
        ("cut", CUT, True),
        ("cut part", BAD_ANSWER, False),
        ("500", "the server answers with status 500", True),
        ("404", "the server answers with status 404", False),
        ("403", "the server answers with status 403", False),
        ("redirect", "the server answers with status 302, a redirect; redirects are not followed", False),
        ("gzip", ENCODED, False),
        ("page", BAD_ANSWER, False),
    ],
)
def test_instances_that_do_not_arrive_are_named(
    front: Front, reading: Reading, fault: str, reason: str, repeated: bool
) -> None:
    """By number, with a reason that quotes nothing. What may pass is repeated, each time after a longer wait."""
    front.fail(SOP, *[fault] * 20)
    with pytest.raises(Undelivered, match=r"^file 1") as caught:
        reading.files().read(FIRST)
    assert caught.value.reason == reason
    assert reading.waits == (list(WAITS_S) if repeated else [])
    for secret in (SOP, "1.8.1", "PAT1", "elsewhere"):
        assert secret not in str(caught.value) + caught.value.reason
    assert len(front.calls) == (len(WAITS_S) + 1 if repeated else 1)


def test_failures_that_pass_are_repeated(front: Front, reading: Reading) -> None:
    """The server's Retry-After is respected, and the instance arrives whole."""
    front.fail(SOP, "503", "busy", "cut", "500", "429")
    files = reading.files()
    content = files.read(FIRST)
    assert content[128:132] == b"DICM" and reading.waits == [1.0, 7.0, 4.0, 8.0, 16.0]
    report = ImportReport()
    files.count(report, "instances")
    assert report.counts == {"instances received from the server": 1, "bytes received from the server": len(content)}


def test_an_endless_answer_is_bounded(front: Front, reading: Reading) -> None:
    """Neither a read nor a head of it continues for long, and it is not repeated."""
    front.fail(SOP, "endless", "endless")
    files = reading.files()
    with pytest.raises(Undelivered, match="the instance has more than 5000000 bytes"):
        files.read(FIRST, most=5_000_000)
    assert reading.waits == [] and len(front.calls) == 1
    assert files.head(FIRST, 132)[128:] == b"DICM"


def test_an_answer_that_takes_too_long_ends(front: Front, reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although bytes arrive all the time."""
    monkeypatch.setattr(client_module, "LONGEST_ANSWER_S", -1.0)
    with pytest.raises(Undelivered, match="file 1") as caught:
        reading.files().read(FIRST)
    assert caught.value.reason == TOO_SLOW


def test_the_head_of_an_instance_is_not_its_whole(front: Front, reading: Reading) -> None:
    """The connection is closed after the first bytes, which are kept for the next call."""
    front.fail(SOP, "endless")
    files = reading.files()
    first = files.head(FIRST, 132)
    assert files.head(FIRST, 1000)[:132] == first and len(front.calls) == 1


def test_a_server_that_stays_away(reading: Reading, front: Front) -> None:
    """An instance is not blamed for it: the import fails and may be repeated."""
    front.fail(SOP, *["503"] * 20)
    with pytest.raises(ServerAway, match="DICOMweb server lab does not answer: status 503"):
        reading.files().read(FIRST)
    away = Reading(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ServerAway, match="ConnectError"):
        away.files().read(FIRST)
    assert away.waits == list(WAITS_S)


def test_tokens_are_fetched_and_replaced(root: str, tmp_path: Path) -> None:
    """One token serves many requests. It is replaced shortly before it expires, and once if the server refuses it."""
    with running_front(root, tokens=True) as front:
        reading = Reading(front.root, oauth(front, tmp_path))
        files = reading.files()
        files.read(FIRST)
        files.read(FIRST)
        assert front.forms == [{"grant_type": "client_credentials", "scope": "read"}]
        reading.now = 269.0
        files.read(FIRST)
        assert len(front.forms) == 1
        reading.now = 271.0
        files.read(FIRST)
        assert len(front.forms) == 2
        front.revoke()
        files.read(FIRST)
        assert len(front.forms) == 3 and reading.waits == []
        assert front.calls.count("/token") == 3
        reading.client.close()


def test_clients_that_are_refused(root: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With a wrong secret, and with tokens that the PACS does not accept. Neither the secret nor the token is in the
    error or a log."""
    caplog.set_level(logging.DEBUG)
    with running_front(root, tokens=True) as front:
        wrong = Reading(front.root, oauth(front, tmp_path, "not the secret"))
        with pytest.raises(Forbidden, match=r"the token server refuses the client: status 401, invalid_client$"):
            wrong.files().read(FIRST)
        right = Reading(front.root, oauth(front, tmp_path))
        front.valid = NoTokens()
        with pytest.raises(Forbidden, match="DICOMweb server lab refuses the client: status 401") as caught:
            right.files().read(FIRST)
        assert len(front.forms) == 3
        plain = Reading(front.root)
        with pytest.raises(Forbidden, match="status 401"):
            plain.files().read(FIRST)
    logged = caplog.text + repr(right.client) + str(caught.value)
    assert "Bearer" not in str(caught.value) and SECRET not in logged and "1.9.11" not in caplog.text


class NoTokens(set[str]):
    """A set that forgets what is added."""

    def add(self, _: str) -> None:
        """Forget it."""


def test_mutual_tls(root: str, tmp_path: Path) -> None:
    """A client with a certificate of the authority is accepted; one without, or with another one, is refused, and the
    client refuses a server whose authority it does not know."""
    authority, other = Authority(tmp_path / "one"), Authority(tmp_path / "other")
    with running_front(root, authority, mutual=True) as front:
        known = {"certificate_file": authority.certificate, "key_file": authority.key, "ca_file": authority.bundle}
        content = Reading(front.root, known).files().read(FIRST)
        assert content[128:132] == b"DICM"
        strangers = (
            {"ca_file": authority.bundle},
            {"certificate_file": other.certificate, "key_file": other.key, "ca_file": authority.bundle},
            known | {"ca_file": other.bundle},
        )
        for settings in strangers:
            reading = Reading(front.root, settings)
            with pytest.raises(Forbidden, match="DICOMweb server lab: TLS fails with"):
                reading.files().read(FIRST)
            assert reading.waits == []


def test_mutual_tls_and_tokens_together(root: str, tmp_path: Path) -> None:
    """The token server gets the certificate too."""
    authority = Authority(tmp_path / "one")
    with running_front(root, authority, mutual=True, tokens=True) as front:
        known = {"certificate_file": authority.certificate, "key_file": authority.key, "ca_file": authority.bundle}
        reading = Reading(front.root, {**known, **oauth(front, tmp_path)})
        found = search(reading.client, Selection(), None)
        assert found.report.counts == {"studies listed by the server": 5, "instances listed by the server": 10}


def test_an_import_continues_without_what_does_not_arrive(
    front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An instance that is another one is dropped at the scan, one that is cut at the cutting; both are in the report by
    number, and the counts say how many arrived."""
    monkeypatch.setattr(client_module, "WAITS_S", (0.0,))
    servers, tables = tmp_path / "servers.json", tmp_path / "tables"
    servers.write_text(json.dumps({"lab": {"url": front.root}}))
    tables.mkdir()
    rows = "".join(f"PAT{number},L,benign,breast,pathology\n" for number in range(1, 6))
    (tables / "labels.csv").write_text(f"patient,side,outcome,unit,source\n{rows}")
    dicomweb = DicomwebSource(server="lab", servers_file=servers, pseudonym_key=None, home=tmp_path)
    source = Source(layout="dicom", folder=tables, dicomweb=dicomweb)
    blobs = open_blobs(f"folder://{tmp_path / 'blobs'}")
    front.fail("1.9.22", "other")
    recipe = CutRecipe(fractions=(0.5,), splits=(1, 0, 0), weak_labels=True)
    plan = plan_import(blobs, "set", source, recipe, pseudonyms=source.pseudonyms(None, tmp_path))
    front.fail("1.9.31", "cut", "cut")
    cut_part(blobs, plan, 0)
    _, _, report = assemble(blobs, plan)
    assert report.dropped[OTHER_INSTANCE].examples == ["file 5"]
    assert report.dropped[CUT].examples == ["file 6"]
    assert report.counts["instances listed by the server"] == 10
    assert report.counts["headers received from the server"] == 9
    assert report.counts["instances received from the server"] == report.counts["mammograms"] == 7
