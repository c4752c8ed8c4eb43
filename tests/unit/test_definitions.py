"""The broker's definitions contain the queues of all services: no event is published before its queue exists."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from services.common.bus import MemoryBus
from services.common.bus.topology import UNLIMITED, definitions
from services.common.settings import Shared
from tests.fakes.services import create_services

FILE = Path(__file__).parents[2] / "deploy" / "rabbitmq" / "definitions.json"


class DeclaringBus(MemoryBus):
    """Records the declarations."""

    def __init__(self) -> None:
        super().__init__()
        self.declared: dict[str, list[str]] = {}

    def declare(self, queue: str, types: Sequence[str]) -> None:
        super().declare(queue, types)
        self.declared[queue] = list(types)


def declared_by_all(home: Path) -> dict[str, list[str]]:
    """Return the types of events to which each queue of the four services is bound."""
    bus = DeclaringBus()
    for service in create_services(Shared(home=home), bus):
        service.http.stop()
        service.grpc.stop()
        service.ports.records.close()
    return bus.declared


def test_the_file_contains_the_declarations_of_the_services(tmp_path: Path) -> None:
    """deploy/rabbitmq/definitions.json equals the definitions made from the services' own declarations."""
    assert json.loads(FILE.read_text()) == definitions(declared_by_all(tmp_path))


@pytest.mark.parametrize("forbidden", ["x-delivery-limit", "x-single-active-consumer", "x-message-ttl", "message-ttl"])
def test_no_option_loses_messages(forbidden: str) -> None:
    """No option differs in meaning between versions of the broker, and none drops messages that were not consumed."""
    assert forbidden not in FILE.read_text()


def test_no_reader_of_parked_messages_makes_the_broker_drop_them() -> None:
    """RabbitMQ 4 and later drops a message after 20 deliveries, and reading a parked message is a delivery."""
    found = json.loads(FILE.read_text())
    limits = {one["name"]: one["definition"]["delivery-limit"] for one in found["policies"]}
    parking = [queue["name"] for queue in found["queues"] if queue["name"].endswith(".parked")]
    assert parking and all(limits[name] == UNLIMITED for name in parking)
