"""A caller that sends half and malformed requests to a port, as a process of its own: `attack PORT NUMBER SECONDS`.

It opens the connections evenly over the time, and keeps all of them open until it ends. Then it prints how many it
opened, and how many the server had closed by then.
"""

import socket
import sys
import time
from contextlib import suppress
from itertools import cycle, islice

from services.common.machine.files import allowed_files
from tests.fakes.halves import HALVES, MALFORMED, connect


def attack(port: int, number: int, seconds: float) -> list[socket.socket]:
    """Open the connections and send the beginning of a request on each."""
    began, connections = time.monotonic(), []
    contents = islice(cycle([*HALVES.values(), *MALFORMED.values()]), number)
    for sent, content in enumerate(contents, 1):
        with suppress(OSError):  # the server closes some before they are sent
            connections.append(connect(port))
            connections[-1].sendall(content)
        time.sleep(max(0.0, began + seconds * sent / number - time.monotonic()))  # the pace of the attack
    return connections


def is_closed(connection: socket.socket) -> bool:
    """Return whether the server has closed a connection; reads what it sent before."""
    connection.setblocking(False)
    try:
        while connection.recv(1 << 16):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    return True


if __name__ == "__main__":
    allowed_files()
    opened = attack(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
    print(len(opened), sum(map(is_closed, opened)))
