"""What callers of services present (token, certificate) and trust (SSL_CERT_FILE, or the authorities of the system)."""

import ssl
from pathlib import Path

import httpx
from pydantic import SecretStr

from services.common.access.edge import pem_pair
from services.common.errors import InvalidInput


def bearer(token: SecretStr | None) -> dict[str, str]:
    """Return the header that carries a token.

    InvalidInput for a token that no header can hold: the error of the client itself would quote it.
    """
    if token is None:
        return {}
    value = token.get_secret_value().strip()
    if not value.isascii() or not value.isprintable() or " " in value:
        raise InvalidInput("PRIMITIVES_TOKEN is not a token: it contains a blank, a line break or a non-ASCII letter")
    return {"authorization": f"Bearer {value}"} if value else {}


def client_context(certificate: Path | None, key: Path | None, base_url: str = "https:") -> ssl.SSLContext:
    """Make the TLS context of a caller, with a client certificate if the settings name one. For a base URL without TLS
    it trusts nobody, because reading the authorities takes 50 ms.

    InvalidInput if only one of the two files is set, or if they are not a certificate and its key.
    """
    secure = base_url.startswith("https:")
    context = httpx.create_ssl_context() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    pair = pem_pair("PRIMITIVES_TLS_CLIENT", certificate, key)
    if pair is not None:
        try:
            context.load_cert_chain(*pair)
        except (OSError, ssl.SSLError) as error:
            raise InvalidInput(f"{pair[0]} and {pair[1]} are not a certificate and its key: {error}") from error
    return context
