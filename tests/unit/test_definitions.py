"""The broker's definitions hold what the services declare, so that no event is published before its queue exists."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from services.activation_extraction import main as activation_extraction
from services.activation_extraction.settings import ExtractionSettings
from services.annotation import main as annotation
from services.annotation.settings import AnnotationSettings
from services.common.bus import MemoryBus
from services.common.bus.topology import definitions
from services.common.settings import Shared
from services.patch_rendering import main as patch_rendering
from services.patch_rendering.settings import RenderingSettings
from services.training import main as training
from services.training.settings import TrainingSettings

FILE = Path(__file__).parents[2] / "deploy" / "rabbitmq" / "definitions.json"


class DeclaringBus(MemoryBus):
    """Keeps what is declared."""

    def __init__(self) -> None:
        super().__init__()
        self.declared: dict[str, list[str]] = {}

    def declare(self, queue: str, types: Sequence[str]) -> None:
        super().declare(queue, types)
        self.declared[queue] = list(types)


def declared_by_all(home: Path) -> dict[str, list[str]]:
    """Queue to types of events, of all four services."""
    bus = DeclaringBus()
    shared = {"shared": Shared(home=home), "http_port": 0, "grpc_port": 0}
    services = [
        training.create(TrainingSettings(**shared), bus),
        activation_extraction.create(ExtractionSettings(**shared), bus),
        patch_rendering.create(RenderingSettings(**shared), bus),
        annotation.create(AnnotationSettings(**shared), bus),
    ]
    for service in services:
        service.http.stop()
        service.grpc.stop()
        service.ports.records.close()
    return bus.declared


def test_the_file_is_what_the_services_declare(tmp_path: Path) -> None:
    """deploy/rabbitmq/definitions.json equals the definitions made from the services' own declarations."""
    assert json.loads(FILE.read_text()) == definitions(declared_by_all(tmp_path))


@pytest.mark.parametrize("forbidden", ["x-delivery-limit", "x-single-active-consumer", "x-message-ttl", "message-ttl"])
def test_nothing_in_it_loses_messages(forbidden: str) -> None:
    """No option whose meaning differs between versions of the broker, and none that drops what nobody took."""
    assert forbidden not in FILE.read_text()
