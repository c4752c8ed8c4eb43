"""All errors that callers can see. HTTP, gRPC and the bus each have one table that maps them to their own codes."""

from collections.abc import Iterable, Mapping
from typing import Any

from services.common.redaction import LONGEST_QUOTE, redacted, shortened

LONGEST_MESSAGE = 4000
"""Characters of an error's message. Over gRPC it travels in a header, which has a limit."""
MOST_FAULTS = 20
"""The number of faults of one request that an error describes."""


class PrimitivesError(Exception):
    """An error that a caller sees by name. Its text holds no secret and is not long, whatever it quotes."""

    def __str__(self) -> str:
        return shortened(redacted(super().__str__()), LONGEST_MESSAGE)


class InvalidInput(PrimitivesError):
    """The input cannot be used. The message names the thing, what was found and what was expected."""


class NotFound(PrimitivesError):
    """The named thing does not exist."""


class Conflict(PrimitivesError):
    """The thing has changed, or its state does not allow this."""


class NotSignedIn(PrimitivesError):
    """The call needs a known reader or caller."""


class Forbidden(PrimitivesError):
    """The caller is known and may not do this."""


class TooMany(PrimitivesError):
    """All that the service allows at one time are in use. A later retry may succeed."""


class Unavailable(PrimitivesError):
    """Something that is needed (a store, a broker, a sibling service) does not answer now. A retry may succeed."""


class Overtaken(Unavailable):
    """Another process recorded the same thing at the same moment. A retry finds that record."""


class Busy(PrimitivesError):
    """Another process works on the same thing. Deliver the message again later."""


class LeaseLost(PrimitivesError):
    """The holder did not renew its lease in time, and another process has taken over. The result of that one counts."""


class JobFailed(PrimitivesError):
    """A job in a child process raised something unexpected. The message holds the child's own words."""


class JobCrashed(PrimitivesError):
    """A job's child process ended without an answer (killed, out of memory). A retry may succeed."""


class JobStopped(PrimitivesError):
    """A job stopped early on request, because its task was paused or has ended."""


def describe_faults(faults: Iterable[Mapping[str, Any]]) -> str:
    """Describe the faults that pydantic found, each with its place: "settings.epochs: Input should be …".

    The input itself is left out: it may be large, secret, or not expressible in JSON. But places contain names of
    fields that the caller chose, and messages may too.
    """
    found = list(faults)
    words = [_describe_fault(fault) for fault in found[:MOST_FAULTS]]
    more = [f"and {len(found) - MOST_FAULTS} more"] if len(found) > MOST_FAULTS else []
    return "; ".join(words + more)


def _describe_fault(fault: Mapping[str, Any]) -> str:
    place = ".".join(shortened(redacted(str(part))) for part in fault["loc"])
    return f"{shortened(place)}: {shortened(redacted(fault['msg']), 2 * LONGEST_QUOTE)}"


def error_of(name: str, message: str) -> PrimitivesError:
    """The domain error of a name, with a message, as another process reported it; JobFailed for any other name."""
    kind = globals().get(name)
    if isinstance(kind, type) and issubclass(kind, PrimitivesError):
        return kind(message)
    return JobFailed(f"{name}: {message}")
