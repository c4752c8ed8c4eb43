"""The embedded form: the four services in one process, over one bus in memory."""

from services.activation_extraction import main as activation_extraction
from services.activation_extraction.settings import ExtractionSettings
from services.annotation import main as annotation
from services.annotation.settings import AnnotationSettings
from services.common.bus import Bus, MemoryBus
from services.common.service import Service, serve
from services.patch_rendering import main as patch_rendering
from services.patch_rendering.settings import RenderingSettings
from services.training import main as training
from services.training.settings import TrainingSettings


def create_services(bus: Bus) -> list[Service]:
    """All four, wired and not yet started. Every queue is declared before any service can publish."""
    return [
        training.create(TrainingSettings(), bus),
        activation_extraction.create(ExtractionSettings(), bus),
        patch_rendering.create(RenderingSettings(), bus),
        annotation.create(AnnotationSettings(), bus),
    ]


def run_embedded() -> None:
    """Run until SIGINT or SIGTERM."""
    bus = MemoryBus()
    serve(create_services(bus), bus)
