"""Calls of a service that may be away for a while: they wait for it, and are sent again until it answers.

A rolling update, a port-forward that ends or an overloaded proxy is away for seconds or hours, but the work continues.
So nothing that follows work ends because of them: only the end of the work, or the user, ends it.
"""

import math
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import typer

from services.cli.client import Untrusted, get, get_all, open_events, post
from services.common.errors import Forbidden, NotFound, NotSignedIn, PrimitivesError, TooMany, Unavailable
from services.common.records import ENDED

T = TypeVar("T")

POLL_S = 0.5
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 15.0
STEADY_S = 30.0
"""After a connection has lasted this long, the waits for the next one are short again."""
FIRST_ANSWER_S = 120.0
"""How long the first answer of a service may take: it may have a wrong address."""
REFUSAL_S = 300.0
"""How long a service may refuse calls that it has answered before: while a token is replaced everywhere, or while a
proxy knows no server."""
BUSY_S = 5.0
"""Time between two polls while a service has no place for another stream."""
LONGEST_REASON = 300

REFUSALS = (NotSignedIn, Forbidden, NotFound, Untrusted)
"""Errors that a repetition usually does not mend. The others are passing: Unavailable and TooMany."""


def print_notice(text: str) -> None:
    """Print a line on standard error."""
    typer.echo(text, err=True)


def check_nothing() -> None:
    """Accept that a service is away."""


class Connection:
    """A service that calls wait for.

    While a service is away, calls are repeated after growing waits. `notice` prints one line when the service is away
    and one when it answers again. Before each wait `check` is called: it raises if the service cannot come back. If the
    address is `known` to be right, the first answer has no time limit either.
    """

    def __init__(
        self,
        base: str,
        notice: Callable[[str], None] = print_notice,
        check: Callable[[], None] = check_nothing,
        known: bool = False,
        wait: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # the clock and its waits are parameters for tests
        self.base = base
        self._limit_s = math.inf if known else FIRST_ANSWER_S
        self._notice, self._check, self._wait, self._clock = notice, check, wait, clock
        self._answered = False
        """Whether the service has ever answered."""
        self._answered_at = clock()
        self._away_since: float | None = None
        self._refused_since: float | None = None
        self._waits = 0

    def get(self, path: str) -> Any:
        """Send a GET until it is answered, and return its JSON. NotFound, NotSignedIn or Forbidden if that is the first
        answer of the service."""
        return self.call(lambda: get(self.base, path))

    def get_all(self, path: str, field: str) -> list[Any]:
        """Read a list page by page, as `get` reads, and return the items of all pages, which have them in `field`."""
        return self.call(lambda: get_all(self.base, path, field))

    def post_repeatable(self, path: str, body: dict[str, Any], key: str = "") -> Any:
        """Send a POST until it is answered, and return its JSON. It must have the same effect when it arrives twice: by
        an id in its body, or by an idempotency `key`."""
        return self.call(lambda: post(self.base, path, body, key))

    def call(self, attempt: Callable[[], T]) -> T:
        """Return the result of `attempt`, which is repeated while the service is away. Raise its other errors."""
        while True:
            try:
                result = attempt()
            except (Unavailable, TooMany, *REFUSALS) as error:
                self._wait_after(error)
            else:
                self._record_answer()
                return result

    def task(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield the view of the task at a path, again whenever it has changed, until it has ended.

        The views are streamed. They are polled while the service has no place for another stream.
        """
        last_id, view = "", {"state": ""}
        while view["state"] not in ENDED:
            try:
                with open_events(self.base, f"{path}/events", last_id) as stream:
                    self._record_answer()
                    for event_id, view in stream:
                        last_id = event_id
                        yield view
                        if view["state"] in ENDED:
                            return
                lost: PrimitivesError = Unavailable(f"{self.base} ended a stream before the task has ended")
            except TooMany:
                view = self.get(path)
                yield view
                if view["state"] not in ENDED:
                    self._wait(BUSY_S)
                continue
            except (Unavailable, *REFUSALS) as error:
                lost = error
            self._wait_after(lost)

    def _wait_after(self, error: PrimitivesError) -> None:
        """Wait before the next attempt. Raise the error if no further attempt is worth it."""
        now, refused = self._clock(), isinstance(error, REFUSALS)
        is_new = self._away_since is None
        if self._away_since is None:
            self._away_since = now
            if now - self._answered_at >= STEADY_S:
                self._waits = 0
        self._refused_since = (now if self._refused_since is None else self._refused_since) if refused else None
        self._check()
        if self._refused_since is not None and (not self._answered or now - self._refused_since >= REFUSAL_S):
            raise error
        if not self._answered and now - self._away_since >= self._limit_s:
            raise error
        if is_new:
            self._notice(f"{' '.join(str(error).split())[:LONGEST_REASON]}; waiting for it")
        self._wait(random.uniform(0.5, 1.0) * min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0**self._waits))
        self._waits = min(self._waits + 1, 16)

    def _record_answer(self) -> None:
        now = self._clock()
        if self._away_since is not None:
            self._notice(f"{self.base} answers again after {now - self._away_since:.0f} s")
        self._answered, self._answered_at = True, now
        self._away_since = self._refused_since = None
