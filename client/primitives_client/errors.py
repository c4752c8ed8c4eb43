"""All errors that this package raises."""


class PrimitivesError(Exception):
    """The base of all errors of this package."""


class ServiceError(PrimitivesError):
    """A service refused a call. `message` is its explanation, `name` its own name of the error."""

    def __init__(self, message: str, status: int = 0, name: str = "", call: str = "") -> None:
        super().__init__(f"{message} ({status}, {call})" if call else message)
        self.message, self.status, self.name, self.call = message, status, name, call


class InvalidInput(ServiceError):
    """The request cannot be used. The message names the thing, what was found and what was expected."""


class NotFound(ServiceError):
    """The named thing does not exist, or this caller may not see it."""


class Conflict(ServiceError):
    """The thing has changed, or its state does not allow this."""


class NotSignedIn(ServiceError):
    """The call needs a token, or the name of a reader."""


class Forbidden(ServiceError):
    """The token does not allow this."""


class TooMany(ServiceError):
    """All that the service allows at one time are in use. A later retry may succeed."""


class Unavailable(ServiceError):
    """The service, or something that it needs, does not answer now. A retry may succeed."""


class Untrusted(Unavailable):
    """The certificate of a service is not trusted."""


class UnexpectedAnswer(PrimitivesError):
    """A service answered with something that this version of the client does not understand."""


class TaskFailed(PrimitivesError):
    """A task failed or was cancelled. The message has its own reason."""


class TimedOut(PrimitivesError):
    """The time to wait for a task is over. The task continues."""


class MissingPackage(PrimitivesError):
    """A method needs an optional package that is not installed."""


ERROR_OF: dict[int, type[ServiceError]] = {
    401: NotSignedIn,
    403: Forbidden,
    404: NotFound,
    408: Unavailable,
    409: Conflict,
    422: InvalidInput,
    429: TooMany,
}
"""Errors by status. All from 500 on are Unavailable, others ServiceError."""


def error_of(status: int) -> type[ServiceError]:
    """Return the class of the error for a status."""
    return Unavailable if status >= 500 else ERROR_OF.get(status, ServiceError)
