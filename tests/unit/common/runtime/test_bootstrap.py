"""The state of a service's ports at its start."""

from pathlib import Path

from services.activation_extraction import main as activation_extraction
from services.activation_extraction.settings import ExtractionSettings
from services.annotation import main as annotation
from services.annotation.settings import AnnotationSettings
from services.common.bus import MemoryBus
from services.common.settings import Shared
from services.patch_rendering import main as patch_rendering
from services.patch_rendering.settings import RenderingSettings
from services.training import main as training
from services.training.settings import TrainingSettings


def test_each_service_makes_its_bucket_at_start(tmp_path: Path) -> None:
    """The buckets of the services that write objects exist before the first put, and no others."""
    shared, ports = Shared(home=tmp_path), {"http_port": 0, "grpc_port": 0}
    for create, settings in (
        (training.create, TrainingSettings(shared=shared, **ports)),
        (activation_extraction.create, ExtractionSettings(shared=shared, **ports)),
        (patch_rendering.create, RenderingSettings(shared=shared, **ports)),
        (annotation.create, AnnotationSettings(shared=shared, **ports)),
    ):
        bus = MemoryBus()
        service = create(settings, bus)  # type: ignore[operator]
        service.stop()
        bus.close()
        service.ports.records.close()
    made = sorted(path.name for path in (tmp_path / "objects").iterdir())
    assert made == ["activation-extraction", "patch-rendering", "training"]
