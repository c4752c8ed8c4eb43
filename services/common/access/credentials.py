"""What callers of services trust and show: the authorities of SSL_CERT_FILE or the system's, a token, a certificate."""

import ssl
from pathlib import Path

import httpx
from pydantic import SecretStr

from services.common.access.edge import pem_pair
from services.common.errors import InvalidInput


def bearer(token: SecretStr | None) -> dict[str, str]:
    """The header that shows a token. InvalidInput for one that no header can hold: the client's own error quotes it."""
    if token is None:
        return {}
    shown = token.get_secret_value().strip()
    if not shown.isascii() or not shown.isprintable() or " " in shown:
        raise InvalidInput("PRIMITIVES_TOKEN is no token: it holds a blank, a line's end or a letter beyond ASCII")
    return {"authorization": f"Bearer {shown}"} if shown else {}


def client_context(certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """The TLS side of a caller, with a certificate of its own where the settings name one. InvalidInput for half a
    pair, and for files that are no such pair."""
    context = httpx.create_ssl_context()
    pair = pem_pair("PRIMITIVES_TLS_CLIENT", certificate, key)
    if pair is not None:
        try:
            context.load_cert_chain(*pair)
        except (OSError, ssl.SSLError) as error:
            raise InvalidInput(f"{pair[0]} and {pair[1]} are no certificate and its key: {error}") from error
    return context
