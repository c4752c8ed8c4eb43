"""The file of DICOMweb servers."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.common.errors import InvalidInput, NotFound
from services.training.raw.source.dicomweb.servers import DicomwebServer, read_servers, server_named
from tests.fakes.certificates import Authority

URL = "https://pacs.example/dicom-web"
OAUTH = {"token_url": "https://login.example/token", "client_id": "c", "client_secret_file": "/run/secrets/pacs"}


def written(folder: Path, content: Any) -> Path:
    """The file with some content."""
    file = folder / "servers.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_servers_have_names(tmp_path: Path) -> None:
    """A server is found by its name; an unknown one is refused with the names that exist, or with the setting."""
    file = written(tmp_path, {"a": {"url": URL}, "b": {"url": "http://127.0.0.1:8042/dicom-web", **OAUTH}})
    assert server_named(file, "a") == DicomwebServer(url=URL)
    with pytest.raises(NotFound, match=r"no DICOMweb server 'c'; .* has a, b"):
        server_named(file, "c")
    with pytest.raises(NotFound, match="PRIMITIVES_TRAINING_DICOMWEB_FILE is not set"):
        server_named(None, "a")


@pytest.mark.parametrize(
    ("server", "fault"),
    [
        ({}, "url"),
        ({"url": "http://pacs.example"}, "expected https://"),
        ({"url": "ftp://pacs.example"}, "expected https://"),
        ({"url": "https://user:hunter2@pacs.example"}, "secrets belong in files"),
        ({"url": "https://pacs.example/?token=hunter2"}, "secrets belong in files"),
        ({"url": "https://pacs.example:port"}, "url|Port"),
        ({"url": "https://"}, "scheme, host, port"),
        ({"url": "https://[::1"}, "url|IPv6"),
        ({"url": URL, **OAUTH, "token_url": "http://login.example"}, "expected https://"),
        ({"url": URL, **OAUTH, "client_id": ""}, "belong together"),
        ({"url": URL, "token_url": "https://login.example"}, "belong together"),
        ({"url": URL, "scope": "read"}, "scope needs token_url"),
        ({"url": URL, "certificate_file": "/a.pem"}, "belong together"),
        ({"url": URL, "client_secret": "hunter2"}, "client_secret"),
        ({"url": URL, "password": "hunter2"}, "password"),
    ],
)
def test_servers_that_are_not_valid_are_refused(tmp_path: Path, server: dict[str, Any], fault: str) -> None:
    """The message names server and field, and quotes no secret."""
    with pytest.raises(InvalidInput, match=fault) as caught:
        read_servers(written(tmp_path, {"lab": server}))
    assert "hunter2" not in str(caught.value) and "lab" in str(caught.value)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"lab": 1}', "[" * 10_000])
def test_files_that_are_not_valid_are_refused(tmp_path: Path, content: str) -> None:
    """The message names the file."""
    with pytest.raises(InvalidInput, match=r"servers.json is not valid"):
        read_servers(written(tmp_path, content))
    with pytest.raises(InvalidInput, match=r"none.json, which PRIMITIVES_TRAINING_DICOMWEB_FILE names"):
        read_servers(tmp_path / "none.json")


def test_files_of_credentials_must_be_usable(tmp_path: Path) -> None:
    """A missing or empty secret, and TLS files that are none, are refused by name."""
    missing = DicomwebServer.model_validate({"url": URL, **OAUTH, "client_secret_file": tmp_path / "none"})
    with pytest.raises(InvalidInput, match="none is no readable text"):
        missing.secret()
    (tmp_path / "empty").write_text("\n")
    empty = DicomwebServer.model_validate({"url": URL, **OAUTH, "client_secret_file": tmp_path / "empty"})
    with pytest.raises(InvalidInput, match="empty is empty"):
        empty.secret()
    authority = Authority(tmp_path / "tls")
    for changes in (
        {"ca_file": tmp_path / "none"},
        {"ca_file": tmp_path / "empty"},
        {"certificate_file": authority.certificate, "key_file": authority.certificate},
    ):
        with pytest.raises(InvalidInput, match="cannot be used"):
            DicomwebServer(url=URL, **changes).trust()
