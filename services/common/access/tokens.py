"""Bearer tokens and their scopes. A service stores only the hashes of the tokens.

A scope is `SERVICE:read` or `SERVICE:write`, with `*` for every service; write does not include read. Two scopes stand
for one right each: `annotation:manage` (open and change studies) and `metrics:read` (`/metrics` of every service). A
token that names a reader may act only as that reader: see `Caller.allows`, and the annotation service.
"""

import hashlib
import os
import secrets
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from services.common.access.audit import Actor, Audit, Event
from services.common.errors import Conflict, Forbidden, InvalidInput, NotSignedIn, describe_faults
from services.common.observability.logs import get_logger

log = get_logger(__name__)

SCOPE = (
    r"^((\*|training|activation_extraction|patch_rendering|annotation):(read|write)|annotation:manage|metrics:read)$"
)
MANAGE = "annotation:manage"
TOKEN_BYTES = 32

Access = Literal["read", "write", "manage"]


class Caller(BaseModel):
    """The holder of a token and what it allows: an entry of the token file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=200)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    scopes: tuple[Annotated[str, Field(pattern=SCOPE)], ...]
    reader: str = Field(default="", max_length=200)
    expires: AwareDatetime | None = None

    @model_validator(mode="after")
    def _reader_manages_nothing(self) -> Self:
        if self.reader and MANAGE in self.scopes:
            raise ValueError(f"the token is bound to the reader {self.reader}, and a reader's token has no {MANAGE}")
        return self

    def allows(self, service: str, access: Access) -> bool:
        """Return whether one of the scopes allows this access to the service.

        A token that is bound to a reader writes answers and nothing else: a plan, which `training:write` starts, would
        open a study whose labels the reader sees. Its `*:read` does not include metrics either, which are no reading.
        """
        if self.reader and access != "read" and (service, access) != ("annotation", "write"):
            return False
        any_service = not (self.reader and service == "metrics")
        return f"{service}:{access}" in self.scopes or (any_service and f"*:{access}" in self.scopes)

    def check(self, service: str, access: Access) -> None:
        """Raise Forbidden unless one of the scopes allows this access to the service."""
        if not self.allows(service, access):
            raise Forbidden(f"the token of {self.name} does not have the scope {service}:{access}")


_ENTRIES = TypeAdapter(list[Caller])


class Tokens:
    """The tokens in a JSON file. It is read again when it changes, so adding or revoking a token needs no restart.

    InvalidInput if the first read fails. If a later read fails, the tokens of the last good read stay valid. With
    `audit`, tokens that are new, changed or gone are recorded.
    """

    def __init__(self, path: Path, audit: Audit | None = None) -> None:
        self._path, self._audit = path, audit
        self._lock = threading.Lock()
        self._version = _version(path)
        self._callers = {caller.sha256: caller for caller in read_tokens(path)}

    def caller(self, authorization: str | None) -> Caller:
        """Return the holder of the token in an Authorization header (`Bearer TOKEN`). NotSignedIn if it is invalid."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise NotSignedIn("send a token in the header Authorization: Bearer TOKEN")
        return self.holder(token.strip())

    def holder(self, token: str) -> Caller:
        """Return the holder of a token. NotSignedIn if it is unknown or expired."""
        return self.holder_of(_digest(token))

    def holder_of(self, sha256: str) -> Caller:
        """Return the holder of the token with a hash. NotSignedIn if it is unknown, revoked or expired."""
        self._read_again()
        caller = self._callers.get(sha256)
        if caller is None:
            raise NotSignedIn("the token is not known here")
        if caller.expires is not None and caller.expires <= datetime.now(UTC):
            raise NotSignedIn(f"the token of {caller.name} expired at {caller.expires.isoformat()}")
        return caller

    def record_to(self, audit: Audit) -> None:
        """Record tokens that are new, changed or gone in this audit log from now on."""
        self._audit = audit

    def _read_again(self) -> None:
        with self._lock:
            try:
                version = _version(self._path)
                if version != self._version:
                    callers = {caller.sha256: caller for caller in read_tokens(self._path)}
                    self._record(self._callers, callers)
                    self._callers = callers
                    self._version = version  # the version before the read: the next call sees a change made during it
            except InvalidInput as error:
                log.error("token file not read; the tokens read before stay valid", reason=str(error))

    def _record(self, before: dict[str, Caller], after: dict[str, Caller]) -> None:
        """Record the difference between two reads of the file, whatever changed it."""
        if self._audit is None:
            return
        changed = [caller for key, caller in after.items() if key in before and before[key] != caller]
        found: list[tuple[Event, list[Caller]]] = [
            ("token_revoked", [caller for key, caller in before.items() if key not in after]),
            ("token_changed", changed),
            ("token_made", [caller for key, caller in after.items() if key not in before]),
        ]
        for event, callers in found:
            for caller in callers:
                actor = Actor(caller=FROM_FILE, reader=caller.reader)
                gone = event == "token_revoked"
                outcome = "no longer in force" if gone else f"in force: {' '.join(caller.scopes)}"
                self._audit.record(event, caller.name, outcome=outcome, actor=actor)


def read_tokens(path: Path) -> list[Caller]:
    """Read the entries of a token file. InvalidInput names the file and what is wrong with it."""
    try:
        return _ENTRIES.validate_json(path.read_bytes())
    except OSError as error:
        raise InvalidInput(f"the token file {path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise InvalidInput(f"the token file {path} is wrong: {describe_faults(error.errors())}") from error


FROM_FILE = "tokens file"
"""The caller of events that a service finds in the tokens file: it does not know who changed the file."""


def add_token(path: Path, name: str, scopes: tuple[str, ...], reader: str = "", expires: datetime | None = None) -> str:
    """Add a new token to a file, which is made if missing, and return it. Nothing else ever shows the token itself.

    InvalidInput for an unknown scope, or for a name that is in the file already. Conflict while another process adds.
    """
    token = secrets.token_urlsafe(TOKEN_BYTES)

    def with_new(known: list[Caller]) -> list[Caller]:
        if name in [caller.name for caller in known]:
            raise InvalidInput(f"the token file {path} has a token of {name!r} already")
        try:
            added = Caller(name=name, sha256=_digest(token), scopes=scopes, reader=reader, expires=expires)
        except ValidationError as error:
            raise InvalidInput(f"the token of {name!r} is wrong: {describe_faults(error.errors())}") from error
        return [*known, added]

    _rewrite(path, with_new)
    return token


def remove_token(path: Path, name: str) -> None:
    """Remove a token from a file: it is no longer valid. InvalidInput if the file has none of that name."""

    def without(known: list[Caller]) -> list[Caller]:
        left = [caller for caller in known if caller.name != name]
        if left == known:
            raise InvalidInput(f"the token file {path} has no token of {name!r}")
        return left

    _rewrite(path, without)


def _rewrite(path: Path, change: Callable[[list[Caller]], list[Caller]]) -> None:
    """Replace the entries of a file. Conflict while another process changes it."""
    aside = path.with_name(f".{path.name}.new")
    try:
        aside.touch(mode=0o600, exist_ok=False)
    except FileExistsError as error:
        raise Conflict(f"another process is adding a token, or was interrupted and left {aside}") from error
    try:
        entries = change(read_tokens(path) if path.exists() else [])
        aside.write_bytes(_ENTRIES.dump_json(entries, indent=1) + b"\n")
        if path.exists():
            _copy_rights(path.stat(), aside)
    except BaseException:
        aside.unlink()
        raise
    aside.replace(path)


def _copy_rights(facts: os.stat_result, path: Path) -> None:
    """Give the new file the owner and mode of the old one, so that a service of another user can still read it."""
    os.chown(path, facts.st_uid, facts.st_gid)
    path.chmod(facts.st_mode & 0o777)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _version(path: Path) -> tuple[int, int, int]:
    """Return what changes when the file does, or when its link points to another file, as in a mounted secret."""
    try:
        facts = path.stat()
    except OSError as error:
        raise InvalidInput(f"the token file {path} cannot be read: {error.strerror}") from error
    return facts.st_mtime_ns, facts.st_size, facts.st_ino
