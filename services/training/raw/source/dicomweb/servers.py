"""The DICOMweb servers that the operator has configured: a JSON file of names, addresses and files of credentials."""

import ssl
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, model_validator

from services.common.access.addresses import check_address
from services.common.errors import InvalidInput, NotFound, describe_faults
from services.common.machine.reading import read_at_most
from services.common.redaction import quoted

SETTING = "PRIMITIVES_TRAINING_DICOMWEB_FILE"
LARGEST_FILE = 1 << 20
LARGEST_SECRET = 4096


class DicomwebServer(BaseModel):
    """A DICOMweb server. With `token_url`, requests carry a token of OAuth2 client credentials; with a certificate, the
    client presents it (mutual TLS). `ca_file` has the authorities that may have signed the servers' certificates;
    without it, those of the system may have."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str
    """The root of the DICOMweb services, such as https://pacs.example/dicom-web."""
    token_url: str = ""
    client_id: str = ""
    client_secret_file: Path | None = None
    scope: str = ""
    certificate_file: Path | None = None
    key_file: Path | None = None
    ca_file: Path | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_url("url", self.url)
        oauth = (bool(self.token_url), bool(self.client_id), self.client_secret_file is not None)
        if any(oauth) and not all(oauth):
            raise ValueError("token_url, client_id and client_secret_file belong together")
        if self.token_url:
            _check_url("token_url", self.token_url)
        elif self.scope:
            raise ValueError("scope needs token_url")
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together")
        return self

    def secret(self) -> str:
        """The secret of the OAuth2 client. InvalidInput if its file cannot be read, or is empty."""
        if self.client_secret_file is None:
            raise InvalidInput("the DICOMweb server has no client_secret_file")
        try:
            secret = read_at_most(self.client_secret_file, LARGEST_SECRET).decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"{self.client_secret_file} is no readable text") from error
        if not secret:
            raise InvalidInput(f"{self.client_secret_file} is empty; expected the secret of the client")
        return secret

    def trust(self) -> ssl.SSLContext:
        """The TLS context of a client. InvalidInput if a file cannot be used."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.certificate_file is not None:
                context.load_cert_chain(self.certificate_file, self.key_file, password=_no_password)
        except (OSError, ssl.SSLError, ValueError) as error:
            files = (self.certificate_file, self.key_file, self.ca_file)
            listed = ", ".join(str(path) for path in files if path is not None)
            raise InvalidInput(f"the TLS files {listed} cannot be used: {error}") from error
        return context


Servers = TypeAdapter(dict[str, DicomwebServer])


def read_servers(file: Path) -> dict[str, DicomwebServer]:
    """The servers of a file, by name. InvalidInput if it cannot be read, or is not valid."""
    try:
        return Servers.validate_json(read_at_most(file, LARGEST_FILE))
    except OSError as error:
        raise InvalidInput(f"{file}, which {SETTING} names, cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise InvalidInput(f"{file} is not valid: {describe_faults(error.errors())}") from None


def server_named(file: Path | None, name: str) -> DicomwebServer:
    """The server of a name. NotFound if there is none."""
    if file is None:
        raise NotFound(f"there is no DICOMweb server {quoted(name)}: {SETTING} is not set")
    servers = read_servers(file)
    if name not in servers:
        raise NotFound(f"there is no DICOMweb server {quoted(name)}; {file} has {', '.join(sorted(servers)) or 'none'}")
    return servers[name]


def _check_url(field: str, url: str) -> None:
    try:
        check_address(url, field)
        parts = urlsplit(url)
        parts.port  # noqa: B018 - a port that is no number raises ValueError
    except InvalidInput as error:
        raise ValueError(str(error)) from None
    if parts.username or parts.password or parts.query or parts.fragment or not parts.hostname:
        raise ValueError(f"{field} may have scheme, host, port and path only; secrets belong in files")


def _no_password() -> str:
    """OpenSSL would prompt on the terminal for the password of an encrypted key."""
    raise ValueError("the key is encrypted; expected one without a password")
