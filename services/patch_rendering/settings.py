"""Settings of the patch rendering service."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.common.settings import ServiceSettings


class RenderingSettings(ServiceSettings):
    """Environment: PRIMITIVES_RENDERING_…"""

    model_config = SettingsConfigDict(env_prefix="PRIMITIVES_RENDERING_", frozen=True)

    http_port: int = Field(default=8003, description="Port of HTTP; 0 takes a free one.")
    grpc_port: int = Field(default=9003, description="Port of gRPC; 0 takes a free one.")
    group_units: int = Field(default=64, ge=1, description="Units that one message renders.")
    quality: int = Field(default=85, ge=1, le=100, description="Quality of JPEG and WebP, from 1 to 100.")
    workers: int = Field(
        default=0,
        ge=0,
        description="Threads that draw pictures. 0: one for each core, but at most four, since more would wait for "
        "each other.",
    )
