"""The one tree of errors. Each edge (HTTP, gRPC, bus) owns one table from these to its own codes."""

from collections.abc import Iterable, Mapping
from typing import Any

from services.common.redaction import redacted


class PrimitivesError(Exception):
    """Anything that went wrong and is told to a caller by name. Its words hold no secret, whatever they quote."""

    def __str__(self) -> str:
        return redacted(super().__str__())


class InvalidInput(PrimitivesError):
    """What was given cannot be used; the message names the thing, what was found and what was expected."""


class NotFound(PrimitivesError):
    """The thing named does not exist."""


class Conflict(PrimitivesError):
    """The thing has changed, or is in a state that does not allow this."""


class NotSignedIn(PrimitivesError):
    """The call needs a reader or a caller that is known."""


class Forbidden(PrimitivesError):
    """The caller is known and may not do this."""


class TooMany(PrimitivesError):
    """As many of these as the service gives at a time are in use; trying again later may help."""


class Unavailable(PrimitivesError):
    """Something that is needed (a store, a broker, a sibling service) does not answer now; trying again may help."""


class Overtaken(Unavailable):
    """Somebody else recorded the same thing at the same moment; whoever looks again finds it."""


class Busy(PrimitivesError):
    """Somebody else is at work on the same thing; the message is to be looked at again later."""


class LeaseLost(PrimitivesError):
    """The work took longer than its lease could be kept; somebody else has taken it over, and its result stands."""


class JobFailed(PrimitivesError):
    """A job in a child process raised something unexpected; the message holds the child's own words."""


class JobCrashed(PrimitivesError):
    """A job's child process ended without an answer (killed, out of memory); trying again may help."""


class JobStopped(PrimitivesError):
    """A job left before it was done, because it was asked to: what it works on was paused or has ended."""


def describe_faults(faults: Iterable[Mapping[str, Any]]) -> str:
    """The faults that pydantic found, each with its place: "settings.epochs: Input should be …". Without the input
    itself, which may be large, secret, or not expressible in JSON."""
    return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults)
