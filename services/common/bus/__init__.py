"""Messages between services: a port, its embedded and its deployed form, and the consumer of a queue."""

from services.common.bus.consumer import Consumer
from services.common.bus.memory import MemoryBus
from services.common.bus.messages import Envelope, decode, encode, ids_of
from services.common.bus.port import Bus, Depth, Parked, Replay
from services.common.errors import InvalidInput
from services.common.redaction import scheme_of

__all__ = [
    "Bus",
    "Consumer",
    "Depth",
    "Envelope",
    "MemoryBus",
    "Parked",
    "Replay",
    "decode",
    "encode",
    "ids_of",
    "open_bus",
]


def open_bus(url: str) -> Bus:
    """Open the bus of a URL: memory:// or amqp(s)://…, with commas between several nodes."""
    if url == "memory://":
        return MemoryBus()
    if url.startswith(("amqp://", "amqps://")):
        from services.common.bus.rabbit import RabbitBus  # pika is loaded only where it is used

        return RabbitBus(url.split(","))
    raise InvalidInput(
        f"PRIMITIVES_BUS_URL has the scheme {scheme_of(url)!r}; expected memory:// or "
        "amqp://USER:PASSWORD@HOST:PORT/VHOST"
    )
