"""The four services in one process, on free ports."""

from services.activation_extraction import main as activation_extraction
from services.activation_extraction.settings import ExtractionSettings
from services.annotation import main as annotation
from services.annotation.settings import AnnotationSettings
from services.common.bus import Bus
from services.common.runtime.service import Service
from services.common.settings import Shared
from services.patch_rendering import main as patch_rendering
from services.patch_rendering.settings import RenderingSettings
from services.training import main as training
from services.training.settings import TrainingSettings


def create_services(shared: Shared, bus: Bus) -> list[Service]:
    """Create the services, in the order of a plan. Their servers are bound; nothing runs. The annotation service knows
    the addresses of the others."""
    siblings = [
        training.create(TrainingSettings(shared=shared, http_port=0, grpc_port=0), bus),
        activation_extraction.create(ExtractionSettings(shared=shared, http_port=0, grpc_port=0), bus),
        patch_rendering.create(RenderingSettings(shared=shared, http_port=0, grpc_port=0), bus),
    ]
    urls = [f"http://127.0.0.1:{service.http.port}" for service in siblings]
    settings = AnnotationSettings(
        shared=shared, http_port=0, grpc_port=0, training_url=urls[0], extraction_url=urls[1], rendering_url=urls[2]
    )
    return [*siblings, annotation.create(settings, bus)]
