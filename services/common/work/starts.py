"""Starts of tasks, each at most once for a caller's idempotency key."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel
from sqlalchemy.orm import Session

from services.common.errors import InvalidInput, Overtaken
from services.common.records import LONGEST_KEY, RecordedKey, Records, find_key, record_key
from services.common.redaction import quoted

HEADER = "idempotency-key"
"""The name of the HTTP header and of the gRPC metadata."""
VALID = re.compile("[!-~]+")


@dataclass(frozen=True)
class CallKey:
    """The idempotency key of a call, and the name of the caller. Each caller has keys of its own."""

    caller: str
    key: str

    @classmethod
    def of(cls, caller: str, sent: str | None) -> "CallKey | None":
        """The key in a header, in quotes or not; None without the header. InvalidInput for a key that is not valid."""
        if sent is None:
            return None
        key = sent[1:-1] if len(sent) > 1 and sent[0] == sent[-1] == '"' else sent
        if len(key) > LONGEST_KEY or not VALID.fullmatch(key):
            raise InvalidInput(f"an idempotency key has 1 to {LONGEST_KEY} printable ASCII characters without spaces")
        return cls(caller, key)


@dataclass(frozen=True)
class Start:
    """The start of one task: the id that the task gets, and the caller's key with the hash of the request, if any."""

    task_id: str
    key: CallKey | None = None
    request_sha256: str = ""

    def record(self, session: Session) -> None:
        """Record the key. Call it in the transaction that adds the task."""
        if self.key is not None:
            recorded = RecordedKey(self.request_sha256, self.task_id)
            record_key(session, self.key.caller, self.key.key, recorded)


def start_once(
    records: Records, task_id: str, key: CallKey | None, begin: Callable[[Start], None], *request: str | BaseModel
) -> str:
    """Start a task and return its id, or the id of the task that the same request with this key has started before.

    `begin` checks the request, and adds the task with `task_id` and the key in one transaction. InvalidInput if the key
    was sent with another request.
    """
    start = Start(task_id, key, sha256_of_request(*request))
    if (found := _started_before(records, start)) is not None:
        return found
    try:
        begin(start)
    except Overtaken:  # by the same call, or by one that adds the same task: look again
        if (found := _started_before(records, start)) is not None:
            return found
        begin(start)
    return task_id


def _started_before(records: Records, start: Start) -> str | None:
    if start.key is None:
        return None
    with records.reading() as session:
        found = find_key(session, start.key.caller, start.key.key)
    if found is None:
        return None
    if found.request_sha256 != start.request_sha256:
        raise InvalidInput(
            f"the idempotency key {quoted(start.key.key)} was sent before with another request, which started "
            f"{found.task_id}; send a new key with a new request"
        )
    return found.task_id


def sha256_of_request(*request: str | BaseModel) -> str:
    """Hash a request as it was understood: the same over HTTP and gRPC, with and without its defaults, and by a later
    version that has more fields."""
    parts = [
        part if isinstance(part, str) else [type(part).__name__, part.model_dump(mode="json", exclude_defaults=True)]
        for part in request
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
