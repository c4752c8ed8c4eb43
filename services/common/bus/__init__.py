"""Messages between services: a port, its embedded form, and the consumer that both serve."""

from services.common.bus.consumer import Consumer
from services.common.bus.memory import MemoryBus
from services.common.bus.messages import Envelope, decode, encode
from services.common.bus.port import Bus, Parked

__all__ = ["Bus", "Consumer", "Envelope", "MemoryBus", "Parked", "decode", "encode", "open_bus"]


def open_bus(url: str) -> Bus:
    """The bus that a URL names."""
    from services.common.errors import InvalidInput

    if url == "memory://":
        return MemoryBus()
    raise InvalidInput(f"PRIMITIVES_BUS_URL is {url!r}; expected memory://")
