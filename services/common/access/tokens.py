"""Who may call: bearer tokens, of which a service knows only the hash, each with its scopes.

A scope is `SERVICE:read` or `SERVICE:write`, with `*` for every service. Neither includes the other. A token that names
a reader acts as that reader and no other; see the annotation service.
"""

import hashlib
import os
import secrets
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from services.common.errors import Conflict, Forbidden, InvalidInput, NotSignedIn, describe_faults
from services.common.observability.logs import get_logger

log = get_logger(__name__)

SCOPE = r"^(\*|training|activation_extraction|patch_rendering|annotation):(read|write)$"
TOKEN_BYTES = 32

Verb = Literal["read", "write"]


class Caller(BaseModel):
    """Who holds a token, and what it allows: an entry of the tokens' file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=200)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    scopes: tuple[Annotated[str, Field(pattern=SCOPE)], ...]
    reader: str = Field(default="", max_length=200)
    expires: AwareDatetime | None = None

    def allows(self, service: str, verb: Verb) -> bool:
        """Whether one of the scopes allows the verb at the service."""
        return bool({f"{service}:{verb}", f"*:{verb}"} & set(self.scopes))

    def check(self, service: str, verb: Verb) -> None:
        """Forbidden unless one of the scopes allows the verb at the service."""
        if not self.allows(service, verb):
            raise Forbidden(f"the token of {self.name} has not the scope {service}:{verb}")


_ENTRIES = TypeAdapter(list[Caller])


class Tokens:
    """The tokens of a JSON file, which is read again when it changes: one is added or revoked without a restart.

    InvalidInput if the file cannot be read at first; later the tokens that were known stay until it can.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._version = _version(path)
        self._callers = {caller.sha256: caller for caller in read_tokens(path)}

    def caller(self, authorization: str | None) -> Caller:
        """Who shows this Authorization header (`Bearer TOKEN`). NotSignedIn if it is no valid token."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise NotSignedIn("show a token in the header Authorization: Bearer TOKEN")
        return self.holder(token.strip())

    def holder(self, token: str) -> Caller:
        """Who holds a token. NotSignedIn if it is unknown or expired."""
        return self.holder_of(_digest(token))

    def holder_of(self, sha256: str) -> Caller:
        """Who holds the token of a hash. NotSignedIn if it is unknown, revoked or expired."""
        self._read_again()
        caller = self._callers.get(sha256)
        if caller is None:
            raise NotSignedIn("the token is not known here")
        if caller.expires is not None and caller.expires <= datetime.now(UTC):
            raise NotSignedIn(f"the token of {caller.name} expired at {caller.expires.isoformat()}")
        return caller

    def _read_again(self) -> None:
        with self._lock:
            try:
                version = _version(self._path)
                if version != self._version:
                    self._callers = {caller.sha256: caller for caller in read_tokens(self._path)}
                    self._version = version  # that of before the read: a change during it is seen next time
            except InvalidInput as error:
                log.error("tokens not read again; those known before stay", reason=str(error))


def read_tokens(path: Path) -> list[Caller]:
    """The entries of a tokens' file. InvalidInput names the file and what is wrong with it."""
    try:
        return _ENTRIES.validate_json(path.read_bytes())
    except OSError as error:
        raise InvalidInput(f"the tokens' file {path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise InvalidInput(f"the tokens' file {path} is wrong: {describe_faults(error.errors())}") from error


def add_token(path: Path, name: str, scopes: tuple[str, ...], reader: str = "", expires: datetime | None = None) -> str:
    """Add a new token to a file, made if missing, and return the token: it is told here and never again.

    InvalidInput for a scope that there is not, or a name that the file has already; Conflict while somebody else adds.
    """
    aside = path.with_name(f".{path.name}.new")
    try:
        aside.touch(mode=0o600, exist_ok=False)
    except FileExistsError as error:
        raise Conflict(f"somebody else is adding a token, or was interrupted and left {aside}") from error
    try:
        token, entries = _with_new(path, name, scopes, reader, expires)
        aside.write_bytes(_ENTRIES.dump_json(entries, indent=1) + b"\n")
        if path.exists():
            _give_rights(path.stat(), aside)
    except BaseException:
        aside.unlink()
        raise
    aside.replace(path)
    return token


def _with_new(
    path: Path, name: str, scopes: tuple[str, ...], reader: str, expires: datetime | None
) -> tuple[str, list[Caller]]:
    """A new token, and the entries of a file with its own."""
    known = read_tokens(path) if path.exists() else []
    if name in [caller.name for caller in known]:
        raise InvalidInput(f"the tokens' file {path} has a token of {name!r} already")
    token = secrets.token_urlsafe(TOKEN_BYTES)
    try:
        added = Caller(name=name, sha256=_digest(token), scopes=scopes, reader=reader, expires=expires)
    except ValidationError as error:
        raise InvalidInput(f"the token of {name!r} is wrong: {describe_faults(error.errors())}") from error
    return token, [*known, added]


def _give_rights(facts: os.stat_result, path: Path) -> None:
    """Whoever could read the file before can read the new one, such as a service of another user."""
    os.chown(path, facts.st_uid, facts.st_gid)
    path.chmod(facts.st_mode & 0o777)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _version(path: Path) -> tuple[int, int, int]:
    """What changes when the file does; also where a link leads elsewhere, as in a mounted secret."""
    try:
        facts = path.stat()
    except OSError as error:
        raise InvalidInput(f"the tokens' file {path} cannot be read: {error.strerror}") from error
    return facts.st_mtime_ns, facts.st_size, facts.st_ino
