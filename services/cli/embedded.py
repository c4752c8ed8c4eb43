"""The embedded form: the four services in one process, over one bus in memory."""

from collections.abc import Mapping

from services.activation_extraction import main as activation_extraction
from services.activation_extraction.settings import ExtractionSettings
from services.annotation import main as annotation
from services.annotation.settings import AnnotationSettings
from services.common.bus import Bus, MemoryBus
from services.common.observability.tracing import configure_tracing
from services.common.runtime.service import Service, serve
from services.common.settings import Shared
from services.patch_rendering import main as patch_rendering
from services.patch_rendering.settings import RenderingSettings
from services.training import main as training
from services.training.settings import TrainingSettings


def create_services(bus: Bus) -> list[Service]:
    """Wire all four services without starting them. Every queue is declared before any service can publish."""
    trainer = training.create(TrainingSettings(), bus)
    extractor = activation_extraction.create(ExtractionSettings(), bus)
    renderer = patch_rendering.create(RenderingSettings(), bus)
    by_setting = {"training_url": trainer, "extraction_url": extractor, "rendering_url": renderer}
    return [trainer, extractor, renderer, annotation.create(_annotation_settings(by_setting), bus)]


def _annotation_settings(by_setting: Mapping[str, Service]) -> AnnotationSettings:
    """Point the annotation service to the other services of this process, except where its settings name a URL."""
    settings = AnnotationSettings()
    scheme = "http" if settings.shared.tls_certificate is None else "https"
    found = {
        name: f"{scheme}://{settings.shared.host}:{service.http.port}"
        for name, service in by_setting.items()
        if name not in settings.model_fields_set
    }
    return settings.model_copy(update=found)


def run_embedded() -> None:
    """Run until SIGINT or SIGTERM."""
    configure_tracing("primitives", Shared().otlp_endpoint)
    bus = MemoryBus()
    serve(create_services(bus), bus)
