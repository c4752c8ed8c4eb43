"""Where the Python client finds the services: by arguments, or by the variables that the command reads."""

import ssl
from dataclasses import asdict
from pathlib import Path

import pytest

from primitives_client import InvalidInput
from primitives_client.addresses import PORTS, find_addresses, find_token, find_trust
from services.cli.client import named_services
from tests.fakes.certificates import Authority


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("HOST", "TOKEN", "TLS_CERTIFICATE", "TLS_CLIENT_CERTIFICATE", "TLS_CLIENT_KEY")
    for name in (
        *(f"PRIMITIVES_{one}" for one in names),
        "SSL_CERT_FILE",
        *(variable for variable, _ in PORTS.values()),
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"PRIMITIVES_HOST": "10.0.0.7"},
        {"PRIMITIVES_TLS_CERTIFICATE": "server.pem", "PRIMITIVES_HOST": "localhost"},
        {
            "PRIMITIVES_TRAINING_HTTP_PORT": "1", "PRIMITIVES_EXTRACTION_HTTP_PORT": "2",
            "PRIMITIVES_RENDERING_HTTP_PORT": "3", "PRIMITIVES_ANNOTATION_HTTP_PORT": "4",
        },
    ],
)  # fmt: skip
@pytest.mark.parametrize("url", ["", "https://one.example", "http://[::1]/"])
def test_addresses_are_those_of_the_command(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str
) -> None:
    """The same environment and the same address lead to the same services."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert asdict(find_addresses(url)) == asdict(named_services(url))


def test_an_address_may_have_the_port_of_the_pages() -> None:
    """The other services keep their own ports."""
    found = find_addresses("http://127.0.0.1:8080")
    assert (found.annotation, found.training) == ("http://127.0.0.1:8080", "http://127.0.0.1:8001")


def test_services_may_have_addresses_of_their_own() -> None:
    """Behind a proxy a service may have a path."""
    found = find_addresses("http://host", {"training": "https://gateway.example/training/"})
    assert found.training == "https://gateway.example/training"
    assert found.patch_rendering == "http://host:8003"


@pytest.mark.parametrize("url", ["host", "ftp://host", "http://host/path", "http://user@host", "http://host:123456"])
def test_other_addresses_are_refused(url: str) -> None:
    """The error has the address."""
    with pytest.raises(InvalidInput, match=url):
        find_addresses(url)


@pytest.mark.parametrize("own", [{"trainig": "http://host"}, {"training": "host:8001"}])
def test_other_services_are_refused(own: dict[str, str]) -> None:
    """The error lists the services."""
    with pytest.raises(InvalidInput, match="patch_rendering"):
        find_addresses(own=own)


def test_the_token_of_the_environment_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument replaces it, also an empty one."""
    monkeypatch.setenv("PRIMITIVES_TOKEN", " secret\n")
    assert (find_token(None), find_token("other"), find_token("")) == ("secret", "other", "")


@pytest.mark.parametrize("token", ["two words", "tökén", "a\nb"])
def test_a_token_that_no_header_can_hold_is_refused(token: str) -> None:
    """The error does not quote it."""
    with pytest.raises(InvalidInput) as refused:
        find_token(token)
    assert token not in str(refused.value)


def test_authorities_and_client_certificates_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From a file, a context or the environment. A file that cannot be read is named as such."""
    authority = Authority(tmp_path / "own")
    monkeypatch.setenv("PRIMITIVES_TLS_CLIENT_CERTIFICATE", str(authority.certificate))
    monkeypatch.setenv("PRIMITIVES_TLS_CLIENT_KEY", str(authority.key))
    assert len(find_trust(authority.bundle).get_ca_certs()) == 1
    context = ssl.create_default_context()
    assert find_trust(context) is context
    for wrong in (tmp_path / "missing.pem", authority.key):
        with pytest.raises(InvalidInput, match="certificates cannot be read"):
            find_trust(wrong)
    monkeypatch.delenv("PRIMITIVES_TLS_CLIENT_CERTIFICATE")
    with pytest.raises(InvalidInput, match="certificates cannot be read"):
        find_trust(None)
