"""The order that a job follows, read from the record of its task, whichever process changes that record."""

import math
import time
from typing import Any

from sqlalchemy import inspect, select

from services.common.errors import Unavailable
from services.common.observability.logs import get_logger
from services.common.records import Records
from services.common.work.jobs import Order

log = get_logger(__name__)

CHECK_INTERVAL_S = 1.0


class RecordedOrders:
    """Derives the order from the task's state, which it reads once a second. While the records do not answer, the last
    order stays: the job must not end because of that."""

    def __init__(self, records: Records, table: type[Any], key: str) -> None:
        self._records = records
        self._query = select(table.state).where(inspect(table).primary_key[0] == key)
        self._checked = -math.inf
        self._order = Order.WORK

    def __call__(self) -> Order:
        """Return the newest order."""
        if time.monotonic() - self._checked >= CHECK_INTERVAL_S:
            self._check()
            self._checked = time.monotonic()
        return self._order

    def _check(self) -> None:
        try:
            with self._records.reading() as session:
                state = session.scalar(self._query)
        except Unavailable as error:
            log.warning("orders not read", reason=str(error))
            return
        orders = {"queued": Order.WORK, "running": Order.WORK, "paused": Order.PAUSE}
        self._order = orders.get(state or "", Order.CANCEL)
