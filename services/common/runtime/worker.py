"""Starts a worker only if a message waits for it.

    python -m services.common.runtime.worker QUEUE MODULE

A cluster starts a worker for each message. Those that wait for a GPU often find that another worker has done the work
meanwhile. They must give the GPU back at once, not after importing torch and a time without work.
"""

import os
import sys

from services.common.bus import open_bus
from services.common.errors import NotFound, Unavailable
from services.common.observability.logs import configure_logs, get_logger
from services.common.settings import Shared

log = get_logger(__name__)


def messages_wait(shared: Shared, queue: str) -> bool:
    """Whether a message waits in a queue, or may wait there: the broker does not answer, or has no such queue yet."""
    bus = open_bus(shared.bus_url)
    try:
        return bus.depth(queue).waiting > 0
    except (NotFound, Unavailable) as error:
        log.warning("messages not counted", queue=queue, reason=str(error))
        return True
    finally:
        bus.close()


def main() -> None:
    """Replace this process by the service, or end."""
    queue, module = sys.argv[1:]
    shared = Shared()
    configure_logs(shared.log_format, shared.log_level)
    if messages_wait(shared, queue):
        os.execv(sys.executable, [sys.executable, "-m", module])
    log.info("no message waits", queue=queue)


if __name__ == "__main__":
    main()
