"""The state of a service's ports at its start."""

from pathlib import Path

from services.common.bus import MemoryBus
from services.common.settings import Shared
from tests.fakes.services import create_services


def test_each_service_makes_its_bucket_at_start(tmp_path: Path) -> None:
    """The buckets of the services that write objects exist before the first put, and no others."""
    bus = MemoryBus()
    for service in create_services(Shared(home=tmp_path), bus):
        service.stop()
        service.ports.records.close()
    bus.close()
    made = sorted(path.name for path in (tmp_path / "objects").iterdir())
    assert made == ["activation-extraction", "patch-rendering", "training"]
