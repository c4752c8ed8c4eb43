"""Finds unfinished work whose message is gone, and enqueues it again.

The broker may lose a message: it is restored from a backup, a queue is purged by mistake, or a delivery is repeated
more often than the broker allows. The record of the work stays, and nobody would perform it.
"""

import threading
from collections.abc import Iterable, Sequence
from typing import Protocol

from sqlalchemy.orm import Session

from services.common.errors import Busy, PrimitivesError
from services.common.observability.logs import get_logger
from services.common.work.ports import Ports

log = get_logger(__name__)

LEASE = "reconciler"


class Enqueued(Protocol):
    """Work that messages start: tasks of one kind, or studies."""

    def unattended(self, session: Session, attended: set[str]) -> set[str]:
        """Return the ids of unfinished work that is not in `attended`, which is being performed."""

    def enqueue_again(self, ids: Iterable[str]) -> None:
        """Send the messages of unfinished work again. Messages that arrive twice do no harm."""


class Reconciler:
    """Searches the records of one service at intervals.

    Work counts as stranded if it is unfinished and unattended in two searches in succession, while no message waits in
    the service's queues or its outbox. A message that a consumer holds back for a moment is not seen: then the work is
    enqueued twice, and performed once.
    """

    def __init__(self, ports: Ports, kinds: Sequence[Enqueued], queues: Sequence[str], interval_s: float) -> None:
        self._ports, self._kinds, self._queues, self._interval_s = ports, kinds, queues, interval_s
        self._seen: list[set[str]] = [set() for _ in kinds]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def start(self) -> None:
        """Begin to search."""
        self._thread.start()

    def stop(self) -> None:
        """Search no more."""
        self._stopping.set()

    def search(self) -> set[str]:
        """Search once. Return the ids of the work that was enqueued again."""
        with self._ports.leases.hold(LEASE):
            self._ports.leases.remove_abandoned()
            found = [set[str]() for _ in self._kinds] if self._messages_wait() else self._unattended()
            stranded = [seen & now for seen, now in zip(self._seen, found, strict=True)]
            self._seen = [now - again for now, again in zip(found, stranded, strict=True)]
            for kind, ids in zip(self._kinds, stranded, strict=True):
                if ids:
                    log.warning("work without a message is enqueued again", ids=sorted(ids))
                    kind.enqueue_again(sorted(ids))
            return set().union(*stranded)

    def _messages_wait(self) -> bool:
        if self._ports.outbox.lag().messages:
            return True
        return any(self._ports.bus.depth(queue).waiting for queue in self._queues)

    def _unattended(self) -> list[set[str]]:
        with self._ports.records.reading() as session:
            # Leases are read first: work that begins in between is attended, and merely seen once.
            attended = {name.partition("/")[0] for name in self._ports.leases.held(session)}
            return [kind.unattended(session, attended) for kind in self._kinds]

    def _run(self) -> None:
        while not self._stopping.wait(self._interval_s):
            try:
                self.search()
            except Busy:
                continue  # another process of the service searches
            except PrimitivesError as error:
                log.warning("records cannot be reconciled", reason=str(error))
            except Exception:  # the next search may succeed
                log.exception("records cannot be reconciled")
