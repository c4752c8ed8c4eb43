"""Calls the webhook that the operator has set: signed as Standard Webhooks 1.0 says (standardwebhooks.com)."""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from services.common.access.addresses import check_address
from services.common.errors import InvalidInput, Unavailable

PREFIX = "whsec_"
"""Marks a secret of Standard Webhooks; base64 follows."""
SHORTEST_KEY, LONGEST_KEY = 24, 64
"""Bytes of a key, as the standard says."""
TIMEOUT = httpx.Timeout(10.0, connect=5.0)
TRY_AGAIN = frozenset({408, 425, 429})
"""Refusals after which the same request may succeed."""
ADDRESS_SETTING, SECRET_SETTING = "PRIMITIVES_ANNOTATION_WEBHOOK_URL", "PRIMITIVES_ANNOTATION_WEBHOOK_SECRET_FILE"


@dataclass(frozen=True)
class Webhook:
    """The receiver of webhooks. `key` signs them; `clock` gives the seconds since 1970 that are signed with them.

    Redirects are not followed: only the operator decides where labels go.
    """

    address: str
    key: bytes = field(repr=False)
    clock: Callable[[], float] = time.time
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=TIMEOUT, follow_redirects=False))

    def __post_init__(self) -> None:
        check_address(self.address, ADDRESS_SETTING)

    def call(self, message_id: str, body: bytes) -> None:
        """Send a JSON body. The receiver sees the same `message_id` each time that the same message is sent.

        Unavailable if the receiver does not answer, or may accept the message later; InvalidInput if it refuses it.
        """
        seconds = str(int(self.clock()))
        headers = {
            "content-type": "application/json",
            "user-agent": "visual-primitives",
            "webhook-id": message_id,
            "webhook-timestamp": seconds,
            "webhook-signature": sign(self.key, message_id, seconds, body),
        }
        try:
            with self.client.stream("POST", self.address, content=body, headers=headers) as answer:
                status = answer.status_code  # the body of the answer means nothing, and is not read
        except httpx.HTTPError as error:
            raise Unavailable(f"the webhook's receiver does not answer: {type(error).__name__}") from error
        if status >= 500 or status in TRY_AGAIN:
            raise Unavailable(f"the webhook's receiver answered {status}")
        if not 200 <= status < 300:
            raise InvalidInput(f"the webhook's receiver refused message {message_id} with {status}")


def open_webhook(address: str, secret_file: Path | None) -> Webhook | None:
    """The receiver that the settings name; None if they name none. InvalidInput if its secret cannot be used."""
    if not address:
        return None
    if secret_file is None:
        raise InvalidInput(f"{ADDRESS_SETTING} is set; it also needs {SECRET_SETTING}")
    try:
        text = secret_file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{SECRET_SETTING} {secret_file} cannot be read: {error}") from error
    return Webhook(address, read_key(text))


def sign(key: bytes, message_id: str, seconds: str, body: bytes) -> str:
    """The signature of a message: `v1,` and HMAC-SHA256 in base64 over id, time and body, joined by points."""
    content = b".".join((message_id.encode(), seconds.encode(), body))
    return "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()


def read_key(secret: str) -> bytes:
    """The key in a secret such as `whsec_MfKQ…`. InvalidInput if it is none; the message does not quote it."""
    text = secret.strip().removeprefix(PREFIX)
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput(f"{SECRET_SETTING} holds no base64 after {PREFIX}") from None
    if not SHORTEST_KEY <= len(key) <= LONGEST_KEY:
        raise InvalidInput(f"{SECRET_SETTING} holds {len(key)} bytes; expected {SHORTEST_KEY} to {LONGEST_KEY}")
    return key
